"""Published safetensors, read a block at a time so that no matrix is ever whole in memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from dispatchd.core.errors import Unusable
from dispatchd.core.sentence import plain_sentence
from dispatchd.engine.parse import parse

Floats = npt.NDArray[np.float32]

BLOCK_NUMBERS_MAX = 1 << 22  # 16 MiB as float32, and a few times that while it is rounded
_HEADER_BYTES_MAX = 100_000_000  # the format's own limit
_LENGTH_BYTES = 8
_NUMPY: dict[str, np.dtype[np.generic]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}

_Offset = Annotated[int, msgspec.Meta(ge=0)]


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


class _Entry(msgspec.Struct, frozen=True):
    dtype: str
    shape: list[_Offset]
    data_offsets: tuple[_Offset, _Offset]


class _Tensor(msgspec.Struct, frozen=True):
    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int  # bytes from the file's beginning


class Weights:
    """A folder's tensors by name; whatever type they are stored as, they are read as float32."""

    def __init__(self, tensors: dict[str, _Tensor]) -> None:
        self._tensors = tensors
        self.files = sorted({tensor.path for tensor in tensors.values()})
        self.numbers = sum(math.prod(tensor.shape) for tensor in tensors.values())
        self._heard: Callable[[int], None] = lambda _: None

    def tell(self, heard: Callable[[int], None]) -> None:
        """From now on `heard` is told how many numbers were read, each time; it may raise."""
        self._heard = heard

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Unusable unless there is such a tensor, of this shape and of a type that can be read."""
        tensor = self._tensors.get(name)
        if tensor is None:
            raise Unusable(f"{self.files[0].parent} lacks the weights {name}: fetch it again.")
        if tensor.shape != shape:
            raise Unusable(
                f"{tensor.path}: {name} is of shape {list(tensor.shape)}, but config.json asks for"
                f" {list(shape)}: the two belong to different models."
            )
        if tensor.dtype not in _NUMPY:
            raise Unusable(
                f"{tensor.path}: {name} is stored as {tensor.dtype}; those known are"
                f" {', '.join(_NUMPY)}: take the original weights."
            )

    def whole(self, name: str) -> Floats:
        """A small tensor, float32 in its own shape."""
        tensor = self._tensors[name]
        return self._read(name, 0, math.prod(tensor.shape)).reshape(tensor.shape)

    def rows(self, name: str, start: int, stop: int) -> Floats:
        """Rows of a matrix, float32 [stop - start, columns]."""
        columns = self._tensors[name].shape[1]
        return self._read(name, start * columns, stop * columns).reshape(-1, columns)

    def stacked(self, names: Sequence[str]) -> "Matrix":
        """Matrices of as many columns each, one below the other, as one."""
        shapes = [self._tensors[name].shape for name in names]
        return Matrix(
            self, dict(zip(names, (shape[0] for shape in shapes), strict=True)), shapes[0][1]
        )

    def _read(self, name: str, start: int, stop: int) -> Floats:
        tensor = self._tensors[name]
        kind = _NUMPY[tensor.dtype]
        place = tensor.offset + start * kind.itemsize
        try:
            stored = np.fromfile(tensor.path, kind, stop - start, offset=place)
        except OSError as error:
            raise Unusable(f"{tensor.path} cannot be read ({error.strerror}).") from error
        if stored.size != stop - start:
            raise Unusable(f"{tensor.path} is cut short: fetch it again.")
        numbers = _floats(stored, tensor.dtype)
        if not np.isfinite(numbers).all():
            raise Unusable(f"{tensor.path}: {name} holds numbers that are not finite.")
        self._heard(numbers.size)
        return numbers


class Matrix:
    """Rows of weights: each makes one output number out of `columns` input numbers."""

    def __init__(self, weights: Weights, parts: dict[str, int], columns: int) -> None:
        self._weights = weights
        self._parts = parts
        self.rows = sum(parts.values())
        self.columns = columns

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """The place of a block's first row, and its float32 [some rows, columns]; in order."""
        step = max(1, BLOCK_NUMBERS_MAX // self.columns)
        first = 0
        for name, rows in self._parts.items():
            for start in range(0, rows, step):
                yield first + start, self._weights.rows(name, start, min(start + step, rows))
            first += rows


def open_weights(folder: Path) -> Weights:
    """The folder's safetensors, sharded or not; Unusable if they are missing or broken."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return Weights(_sharded(folder, parse(index, _Index).weight_map))
    path = folder / "model.safetensors"
    if not path.is_file():
        raise Unusable(
            f"{folder} holds no model.safetensors: only models published as safetensors can be"
            " prepared."
        )
    return Weights(_tensors(path))


def _sharded(folder: Path, places: dict[str, str]) -> dict[str, _Tensor]:
    tensors: dict[str, _Tensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard:
            raise Unusable(f"{folder} has an index that names a file elsewhere ({shard!r}).")
        if not (folder / shard).is_file():
            raise Unusable(f"{folder} lacks {shard}, which its index names: fetch it again.")
        tensors |= _tensors(folder / shard)
    return {name: tensor for name, tensor in tensors.items() if name in places}


def _tensors(path: Path) -> dict[str, _Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        begin = _LENGTH_BYTES + length
        if not 0 < length <= min(_HEADER_BYTES_MAX, size - _LENGTH_BYTES):
            raise Unusable(f"{path} is no safetensors file: fetch it again.")
        header = file.read(length)
    try:
        loose = msgspec.json.decode(header, type=dict[str, Any])
        loose.pop("__metadata__", None)
        entries = msgspec.convert(loose, dict[str, _Entry])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unusable(
            f"{path} is no safetensors file ({plain_sentence(error)}): fetch it again."
        ) from error
    for name, entry in entries.items():
        _check_entry(path, name, entry, size - begin)
    return {
        name: _Tensor(path, entry.dtype, tuple(entry.shape), begin + entry.data_offsets[0])
        for name, entry in entries.items()
    }


def _check_entry(path: Path, name: str, entry: _Entry, room: int) -> None:
    start, stop = entry.data_offsets
    kind = _NUMPY.get(entry.dtype)
    if stop > room:
        raise Unusable(f"{path} is cut short: fetch it again.")
    if start > stop or (kind and math.prod(entry.shape) * kind.itemsize != stop - start):
        raise Unusable(f"{path} is broken: {name} does not fill its place: fetch it again.")


def _floats(stored: npt.NDArray[np.generic], dtype: str) -> Floats:
    if dtype == "BF16":
        # A bfloat16 is the upper half of a float32.
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)
