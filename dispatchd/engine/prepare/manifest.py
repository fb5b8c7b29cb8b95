"""What a prepared model's folder says of itself, and whether it still is what it says."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.parse import parse

FILE_NAME = "manifest.json"
GRAPH_NAME = "graph.onnx"
DATA_NAME = "graph.onnx.data"
FORMAT: Literal[1] = 1

Precision = Literal["fp32", "fp16", "int8", "int4"]
Int8Bits = Literal[7, 8]

_PIECE_BYTES = 1 << 20


class Source(msgspec.Struct, frozen=True):
    """Where the weights came from; `files` has the sha256 of each file that was read."""

    repo: str | None
    revision: str | None
    files: dict[str, str]


class Manifest(msgspec.Struct, frozen=True):
    """A prepared model; `result` has the sha256 of each file in the folder but this one.

    Of a weight's 8 bits in int8, `int8_bits` are used: with 7, every CPU's quickest kernels add up
    what it is part of without a loss.
    """

    format: Literal[1]
    name: str
    source: Source
    architecture: Literal["llama", "mistral", "qwen2", "qwen3"]
    precision: Precision
    layers: int
    kv_heads: int
    head_size: int
    vocab_size: int
    context_tokens: int
    result: dict[str, str]
    int8_bits: Int8Bits = 8

    @property
    def model_hash(self) -> str:
        """One hash, in hex, of everything that decides what the model answers."""
        together = msgspec.json.encode(sorted(self.result.items()))
        return hashlib.sha256(together).hexdigest()


class _Format(msgspec.Struct, frozen=True):
    format: int


def is_prepared(folder: Path) -> bool:
    """Whether `prepare` made this folder."""
    return (folder / FILE_NAME).is_file()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Puts the manifest into the folder."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / FILE_NAME).write_bytes(text + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """The folder's manifest; Unusable if it is missing, broken, or of a format not known here."""
    path = folder / FILE_NAME
    if (found := parse(path, _Format).format) != FORMAT:
        raise Unusable(f"{path} is of format {found}, not {FORMAT}: prepare the model again.")
    return parse(path, Manifest)


def verify(
    folder: Path,
    manifest: Manifest,
    progress: Callable[[float], None] = lambda _: None,
    remedy: str = "prepare the model again",
) -> None:
    """Unusable if a file of the folder is missing or is no longer what was prepared.

    The error ends with the remedy.
    """
    for name in manifest.result:
        if Path(name).name != name or not (folder / name).is_file():
            raise Unusable(f"{folder} lacks {name}: {remedy}.")
    hashes = hash_files((folder / name for name in manifest.result), progress)
    for name, expected in manifest.result.items():
        if hashes[name] != expected:
            raise Unusable(f"{folder / name} has changed since it was prepared: {remedy}.")


def hash_files(
    paths: Iterable[Path], progress: Callable[[float], None] = lambda _: None
) -> dict[str, str]:
    """The sha256 of each file, in hex, by its name; Unusable if one cannot be read."""
    files = sorted(paths)
    total = sum(file.stat().st_size for file in files) or 1
    done = 0
    hashes = {}
    for path in files:
        digest = hashlib.sha256()
        for piece in _pieces(path):
            digest.update(piece)
            done += len(piece)
            progress(min(done / total, 1.0))
        hashes[path.name] = digest.hexdigest()
    return hashes


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise Unusable(f"{path} cannot be read ({error.strerror}).") from error
