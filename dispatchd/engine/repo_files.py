"""Which files of a repository are pulled: weights in safetensors, and what goes with them.

Pickled weights can run code when they are read, so they are never fetched. Nothing below the top
folder is wanted, so no name that a server sends can lead out of ours.
"""

import re
from pathlib import Path

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.hub import HubFile, Listing
from dispatchd.engine.parse import parse

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_NEEDED = ("config.json", "tokenizer.json")
_WELCOME = (
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    _INDEX,
)
_WEIGHTS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_OTHERS = {
    ".bin": "pickled weights, which can run code when they are read",
    ".pth": "pickled weights, which can run code when they are read",
    ".pt": "pickled weights, which can run code when they are read",
    ".gguf": "GGUF weights",
    ".onnx": "ONNX graphs; download it and give its folder as --model",
}


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def small_files(listing: Listing) -> list[HubFile]:
    """All but the weights; Unusable if the repository lacks one that a language model needs."""
    for name in _NEEDED:
        if listing.find(name) is None:
            raise Unusable(
                f"{listing.repo} has no {name}: it is no language model that can be prepared."
            )
    if not any(_WEIGHTS.fullmatch(file.name) for file in listing.files):
        raise Unusable(_without_weights(listing))
    return [file for file in listing.files if file.name in {*_NEEDED, *_WELCOME}]


def weight_files(listing: Listing, folder: Path) -> list[HubFile]:
    """The weights; `folder` holds the small files, of which the index names the parts."""
    if listing.find(_INDEX) is None:
        single = listing.find(_SINGLE)
        if single is None:
            raise Unusable(
                f"{listing.repo} has neither {_SINGLE} nor {_INDEX}: it does not say which of its"
                " safetensors files are the model."
            )
        return [single]
    names = sorted(set(parse(folder / _INDEX, _Index).weight_map.values()))
    files = [listing.find(name) for name in names if _WEIGHTS.fullmatch(name)]
    if len(files) < len(names) or any(file is None for file in files):
        raise Unusable(f"{listing.repo} lacks weights that its {_INDEX} names.")
    return [file for file in files if file is not None]


def _without_weights(listing: Listing) -> str:
    for suffix, what in _OTHERS.items():
        if any(file.name.endswith(suffix) for file in listing.files):
            return f"{listing.repo} has no safetensors weights, only {what}: choose another one."
    return f"{listing.repo} has no safetensors weights: choose another repository."
