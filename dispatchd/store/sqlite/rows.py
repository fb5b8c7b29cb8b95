"""One SQL statement for many rows, in a few sizes only, so that SQLite prepares each just once."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")

_SIZES = (32, 16, 8, 4, 2, 1)


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The items in runs of these sizes, the longest first."""
    start = 0
    for size in _SIZES:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


def value_rows(count: int, width: int) -> str:
    """`VALUES (?, …), …` for so many rows of so many columns."""
    row = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([row] * count)}"
