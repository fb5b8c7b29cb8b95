"""The models that a node carries or has pulled, and how a name or a path becomes one of them."""

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.genai import genai_context_tokens, is_genai
from dispatchd.engine.parse import parse, parse_optional
from dispatchd.engine.prepare.manifest import FILE_NAME, is_prepared
from dispatchd.engine.short_names import short_name

log = logging.getLogger(__name__)

DEFAULT_LLM = "demo-chat"
DEFAULT_CLASSIFIER = "sentiment"
DEFAULT_SUMMARIZER = "summarizer"

_PACKAGE = Path(__file__).parents[1]
# A wheel carries the models inside the package; an editable install finds them beside it.
_HOMES = (_PACKAGE / "embedded_models", _PACKAGE.parent / "models")
UNWELCOME = re.compile(r"[^A-Za-z0-9._-]+")  # in the name of a folder

Kind = Literal["llm", "classifier", "summarizer"]
Layout = Literal[
    "decoder-with-past",
    "onnxruntime-genai",
    "token-windows",
    "sentences",
    "prepared",
    "safetensors",
]


class ModelCard(msgspec.Struct, frozen=True):
    """What is known of a model without loading it; None where its files do not say.

    The layout `safetensors` is published weights, which have to be prepared first.
    """

    name: str
    kind: Kind
    layout: Layout
    path: Path
    bytes_on_disk: int
    parameters: int | None
    context_tokens: int | None
    precision: str | None = None
    repo: str | None = None
    revision: str | None = None


class _Metrics(msgspec.Struct, frozen=True):
    params: int | None = None


class _Config(msgspec.Struct, frozen=True):
    max_position_embeddings: int | None = None


class _Source(msgspec.Struct, frozen=True):
    repo: str | None = None
    revision: str | None = None


class _Manifest(msgspec.Struct, frozen=True):
    """The part of a prepared model's manifest that a card shows."""

    name: str | None = None
    source: _Source = _Source()
    precision: str | None = None
    context_tokens: int | None = None


def embedded() -> list[ModelCard]:
    """Every embedded model, by name; empty where the package was built without them."""
    home = next((home for home in _HOMES if home.is_dir()), None)
    if home is None:
        return []
    return [describe(folder) for folder in sorted(home.iterdir()) if _kind(folder) is not None]


def is_embedded(folder: Path) -> bool:
    """Whether the model in that folder came with the package."""
    return any(folder == each.path for each in embedded())


def pulled(home: Path) -> list[ModelCard]:
    """Every model that was pulled or prepared into that folder, by name.

    One whose files cannot be read is passed over with a warning: the others are none the worse.
    """
    if not home.is_dir():
        return []
    return list(_readable(folder for folder in sorted(home.iterdir()) if is_prepared(folder)))


def find(name_or_path: str, home: Path | None = None) -> ModelCard:
    """The embedded model of that name, else the one in `home`, else the folder at that path.

    A pulled model is also found by its repository or another short name of that. Unusable if it is
    none of them.
    """
    cards = embedded() + (pulled(home) if home else [])
    for card in cards:
        if card.name == name_or_path:
            return card
    published = short_name(name_or_path)
    repo = published.repo if published else name_or_path
    for card in cards:
        if card.repo == repo:
            return card
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return describe(folder)
    if published:
        raise Unusable(
            f"The model {published.name} is not on this machine:"
            f" run dispatchd models pull {published.name} first."
        )
    known = ", ".join(card.name for card in cards) or "none"
    raise Unusable(
        f"There is no model {name_or_path!r}: give a model folder, or the name of an embedded or"
        f" pulled one ({known})."
    )


def describe(folder: Path) -> ModelCard:
    """The card of a model folder; Unusable if its files do not say what it is."""
    folder = folder.resolve()
    kind = _kind(folder)
    if kind is None:
        raise Unusable(
            f"{folder} is no model folder: it needs config.json (a language model)"
            ", genai_config.json (one made for onnxruntime-genai) or labels.json (a classifier)."
        )
    manifest = parse(folder / FILE_NAME, _Manifest) if is_prepared(folder) else _Manifest()
    layout = _layout(folder, kind)
    return ModelCard(
        name=manifest.name or folder.name,
        kind=kind,
        layout=layout,
        path=folder,
        bytes_on_disk=bytes_in(folder),
        parameters=parse_optional(folder / "metrics.json", _Metrics).params,
        context_tokens=manifest.context_tokens or _context_tokens(folder, layout),
        precision=manifest.precision,
        repo=manifest.source.repo,
        revision=manifest.source.revision,
    )


def plain_name(text: str) -> str:
    """The nearest name that a model may be kept under."""
    return UNWELCOME.sub("-", text).strip("-._") or "model"


def bytes_in(folder: Path) -> int:
    """What the folder's files take; a file that is linked lies elsewhere."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files)


def _readable(folders: Iterable[Path]) -> Iterator[ModelCard]:
    for folder in folders:
        try:
            yield describe(folder)
        except Unusable as error:
            hint = f"dispatchd models rm {folder.name} removes it"
            log.warning("a model is passed over: %s (%s)", error, hint)


def _context_tokens(folder: Path, layout: Layout) -> int | None:
    if layout == "onnxruntime-genai":
        return genai_context_tokens(folder)
    return parse_optional(folder / "config.json", _Config).max_position_embeddings


def _layout(folder: Path, kind: Kind) -> Layout:
    if kind == "classifier":
        return "token-windows"
    if kind == "summarizer":
        return "sentences"
    if is_prepared(folder):
        return "prepared"
    if is_genai(folder):
        return "onnxruntime-genai"
    graphs = any(folder.glob("*.onnx")) or any(folder.glob("onnx/*.onnx"))
    weights = any(folder.glob("*.safetensors"))
    return "safetensors" if weights and not graphs else "decoder-with-past"


def _kind(folder: Path) -> Kind | None:
    if (folder / "labels.json").is_file():
        return "classifier"
    if (folder / "salience.json").is_file():
        return "summarizer"
    if (folder / "config.json").is_file() or is_genai(folder):
        return "llm"
    return None
