"""Caches and scores in this machine's memory, where the CPU's graphs and numpy both work."""

import contextlib
import mmap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dispatchd.engine.batch.pool import CacheShape
from dispatchd.engine.sampling import Scores
from dispatchd.engine.session import Memory

Cache = npt.NDArray[np.floating]


class HostPool:
    """`Pool` in one array, [layers × 2, slots, kv_heads, tokens, head_size]; keys are even ones.

    The system gives memory to the parts that are written, so a pool costs what its longest
    sequences took, not what it could hold.
    """

    def __init__(self, shape: CacheShape, *, slots: int, tokens: int) -> None:
        self.slots = slots
        self.tokens = tokens
        extent = (shape.layers * 2, slots, shape.kv_heads, tokens, shape.head_size)
        memory = _unwritten(shape.token_bytes * slots * tokens)
        self._cache: Cache = np.frombuffer(memory, dtype=shape.dtype).reshape(extent)

    def rows(self, first: int, count: int) -> list[Memory]:
        """For each layer its key, then its value."""
        return [tensor[first : first + count] for tensor in self._cache]

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Copies those positions and no others."""
        self._cache[:, target, :, start:end] = self._cache[:, source, :, start:end]

    def swap(self, one: int, other: int, end: int) -> None:
        """Exchanges those positions and no others."""
        kept = self._cache[:, one, :, :end].copy()
        self.copy(other, one, 0, end)
        self._cache[:, other, :, :end] = kept


class HostReadout:
    """`Readout` as an array: a row is there in full as soon as it is written."""

    def __init__(self, *, slots: int, vocab_size: int) -> None:
        self._scores: Scores = np.zeros((slots, vocab_size), dtype=np.float32)

    def place(self, count: int) -> Memory:
        """The array's first rows."""
        return self._scores[:count]

    def read(self, depths: Sequence[int]) -> Sequence[Scores]:
        """The rows themselves."""
        return list(self._scores[: len(depths)])


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
