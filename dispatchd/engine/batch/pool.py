"""The KV caches of all sequences: one array, in which each sequence has a slot."""

import contextlib
import mmap

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Cache = npt.NDArray[np.floating]
Ids = npt.NDArray[np.int64]


class CacheShape(Struct, frozen=True):
    """What one token takes in a cache: `layers` × 2 × `kv_heads` × `head_size` numbers."""

    layers: int
    kv_heads: int
    head_size: int
    dtype: str

    @property
    def token_bytes(self) -> int:
        """Bytes that one token of one sequence takes."""
        numbers = self.layers * 2 * self.kv_heads * self.head_size
        return numbers * np.dtype(self.dtype).itemsize


class Pool:
    """Keys and values, [layers × 2, slots, kv_heads, tokens, head_size]; keys are the even ones.

    The system gives memory to the parts that are written, so a pool costs what its longest
    sequences took, not what it could hold.
    """

    def __init__(self, shape: CacheShape, *, slots: int, tokens: int) -> None:
        self.shape = shape
        self.slots = slots
        self.tokens = tokens
        extent = (shape.layers * 2, slots, shape.kv_heads, tokens, shape.head_size)
        memory = _unwritten(shape.token_bytes * slots * tokens)
        self._cache: Cache = np.frombuffer(memory, dtype=shape.dtype).reshape(extent)

    def rows(self, first: int, count: int) -> list[Cache]:
        """For each layer its key, then its value: `count` slots in place, never a copy."""
        return [tensor[first : first + count] for tensor in self._cache]

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Gives the target slot what the source slot holds of the positions from start to end."""
        self._cache[:, target, :, start:end] = self._cache[:, source, :, start:end]

    def swap(self, one: int, other: int, end: int) -> None:
        """Exchanges two slots' positions up to `end`."""
        kept = self._cache[:, one, :, :end].copy()
        self.copy(other, one, 0, end)
        self._cache[:, other, :, :end] = kept


def _unwritten(size_bytes: int) -> mmap.mmap | bytearray:
    """Zeros that take memory page by page, as they are written."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return bytearray(size_bytes)
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # A huge page for the first token of each layer and head would be nearly all of the pool, and
    # numpy asks for huge pages.
    with contextlib.suppress(OSError, AttributeError):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory
