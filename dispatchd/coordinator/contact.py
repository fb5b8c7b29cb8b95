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
        self._away = 0
        self.breaks = 0
        """How many breaks have ended."""

    def made(self) -> None:
        """The store has just answered, which may end a break."""
        now = self._clock.now()
        away, self._last = now - self._last, now
        self._since = min(self._since, now)  # the clock may have been set back
        if away >= self._break:
            self._since, self._away = now, away
            self.breaks += 1

    def away(self, seconds: float) -> float:
        """For how many seconds it was lost, where that is less than `seconds` ago; else 0."""
        return 0 if self.lasts(seconds) else self._away / 1000

    def lasts(self, seconds: float) -> bool:
        """Whether there was no break for so long."""
        return self._clock.now() - self._since >= millis(seconds)
