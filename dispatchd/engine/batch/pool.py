"""The KV caches of all sequences: one memory, in which each sequence has a slot."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dispatchd.engine.session import Memory

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


class Pool(Protocol):
    """Keys and values of `slots` sequences of at most `tokens` positions each."""

    slots: int
    tokens: int

    def rows(self, first: int, count: int) -> list[Memory]:
        """For each layer its key, then its value: `count` slots in place, never a copy.

        Each is [count, kv_heads, tokens, head_size].
        """
        ...

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Gives the target slot what the source slot holds of the positions from start to end.

        Before start, both must hold the same; past the end, the target holds anything.
        """
        ...

    def swap(self, one: int, other: int, end: int) -> None:
        """Exchanges two slots' positions up to `end`; past it, they hold anything."""
        ...
