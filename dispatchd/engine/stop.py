"""Stop strings: a text that arrives in pieces ends before the first of them."""

from collections.abc import Sequence


class StopStrings:
    """Holds back what may become a stop string; `found` says that the text has ended.

    However the text is split, what comes out is the text up to the first place where one of the
    strings begins. So a found string still waits while an earlier, longer one may be completed.
    """

    def __init__(self, sought: Sequence[str]) -> None:
        self._sought = sought
        self._longest = max(map(len, sought), default=0)
        self._held = ""
        self.found = False

    def add(self, piece: str) -> str:
        """The text that this piece settles; after `found` there must be no further piece."""
        self._held += piece
        first, begun = self._first(), self._begun()
        self.found = first < len(self._held) and first <= begun
        return self._give(min(first, begun))

    def end(self) -> str:
        """What was held back, for no more will come."""
        first = self._first()
        self.found = self.found or first < len(self._held)
        return self._give(first)

    def _give(self, end: int) -> str:
        given, held = self._held[:end], self._held[end:]
        self._held = "" if self.found else held
        return given

    def _first(self) -> int:
        """Where the first whole stop string begins, or else the end."""
        places = [self._held.find(string) for string in self._sought]
        return min((place for place in places if place >= 0), default=len(self._held))

    def _begun(self) -> int:
        """Where the first stop string begins of which only a part is there, or else the end."""
        end = len(self._held)
        for start in range(max(0, end - self._longest + 1), end):
            tail = self._held[start:]
            if any(len(s) > len(tail) and s.startswith(tail) for s in self._sought):
                return start
        return end
