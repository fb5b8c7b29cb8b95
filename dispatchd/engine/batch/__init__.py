"""Continuous batching: many generations share each step of one prepared graph."""

from typing import Protocol

from dispatchd.engine.generate import Generation


class Listener(Protocol):
    """Who asked for a generation; told from the engine's thread, and so must not block.

    No piece is empty or cuts a character in two. After `end` nothing follows.
    """

    def give(self, piece: str) -> None:
        """The text generated since the last time."""
        ...

    def end(self, outcome: Generation | Exception) -> None:
        """The whole generation, or why there is none."""
        ...
