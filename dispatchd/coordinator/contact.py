"""Since when this coordinator has reached the shared store without a break."""

from dispatchd.core.clock import Clock
from dispatchd.core.job import millis


class Contact:
    """Whoever has lost it for a while cannot tell whether others, cut off as well, are gone."""

    def __init__(self, clock: Clock, break_seconds: float) -> None:
        """Not to have reached it for `break_seconds` is a break; the start is one, too."""
        self._clock = clock
        self._break = millis(break_seconds)
        self._since = self._last = clock.now()

    def made(self) -> None:
        """The store has just answered."""
        now = self._clock.now()
        if now - self._last >= self._break:
            self._since = now
        self._last = now

    def lasts(self, seconds: float) -> bool:
        """Whether there was no break for so long."""
        return self._clock.now() - self._since >= millis(seconds)
