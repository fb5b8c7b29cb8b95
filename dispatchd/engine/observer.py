"""Who is told how the engine does; nobody, unless somebody wants to know."""

from collections.abc import Callable
from time import monotonic
from typing import Protocol


class EngineObserver(Protocol):
    """Told from any thread, and so must not block."""

    def loaded(self, runtime: str) -> None:
        """What runs graphs here has been loaded: its name and version."""
        ...

    def stepped(self, sequences: int) -> None:
        """A decoding step has given each of so many generations a token."""
        ...

    def first_text(self, seconds: float) -> None:
        """A generation's first text came so long after its beginning."""
        ...

    def next_text(self, seconds: float) -> None:
        """Text came so long after the text before it."""
        ...

    def generated(self, prompt_tokens: int, completion_tokens: int) -> None:
        """A generation is whole."""
        ...


class Unobserved:
    """Nobody wants to know."""

    def loaded(self, runtime: str) -> None:
        """Is not heard."""

    def stepped(self, sequences: int) -> None:
        """Is not heard."""

    def first_text(self, seconds: float) -> None:
        """Is not heard."""

    def next_text(self, seconds: float) -> None:
        """Is not heard."""

    def generated(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Is not heard."""


UNOBSERVED = Unobserved()


class Stopwatch:
    """Times the texts of one generation, which begins now."""

    def __init__(
        self, observer: EngineObserver, now_seconds: Callable[[], float] = monotonic
    ) -> None:
        self._observer = observer
        self._now_seconds = now_seconds
        self._at = now_seconds()
        self._begun = False

    def text(self) -> None:
        """A piece of text has come."""
        now = self._now_seconds()
        told = self._observer.next_text if self._begun else self._observer.first_text
        told(now - self._at)
        self._at, self._begun = now, True
