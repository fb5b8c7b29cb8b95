"""One SQL statement for many rows, so few at a time that each number of rows is prepared once."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")

_ROWS_MAX = 32
"""With four such statements this is half of those that a connection keeps prepared."""


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The items in runs, of which all but the last are as long as they may be."""
    for start in range(0, len(items), _ROWS_MAX):
        yield items[start : start + _ROWS_MAX]


def value_rows(count: int, width: int) -> str:
    """`VALUES (?, …), …` for so many rows of so many columns."""
    row = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([row] * count)}"
