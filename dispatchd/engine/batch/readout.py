"""Where a step's scores go, and how much of them is looked at."""

from collections.abc import Sequence
from typing import Protocol

from dispatchd.engine.sampling import Ranked, Scores
from dispatchd.engine.session import Memory


class Readout(Protocol):
    """The scores of the last step, float32 [rows, vocab]."""

    def place(self, count: int) -> Memory:
        """Where a step of so many rows writes them."""
        ...

    def read(self, depths: Sequence[int]) -> Sequence[Scores | Ranked]:
        """Of each row as many of the highest scores as its depth says, or all; of 0, all.

        They are the caller's to change, until the next step.
        """
        ...
