"""Wrong pairing codes: how many are allowed, from one address and from everywhere."""

from dispatchd.coordinator.allowance import Allowance
from dispatchd.core.errors import TooMany
from dispatchd.core.job import Millis
from dispatchd.core.limits import Limits

_SECONDS = 60
_EVERYWHERE = ""


class Guesses:
    """A code has 24 bits, so guessing must be slow."""

    def __init__(self, limits: Limits) -> None:
        self._by_address = Allowance(limits.wrong_codes_per_address_max, _SECONDS)
        self._in_all = Allowance(limits.wrong_codes_max, _SECONDS)

    def begin(self, address: str, now: Millis) -> None:
        """Counts a guess before it is known whether it is wrong, since many may come at once.

        Raises `TooMany` while no more guesses are allowed.
        """
        pause = max(
            self._by_address.seconds_until_free(address, now),
            self._in_all.seconds_until_free(_EVERYWHERE, now),
        )
        if pause > 0:
            raise TooMany("Too many wrong pairing codes; try again later", pause)
        self._by_address.note(address, now)
        self._in_all.note(_EVERYWHERE, now)

    def was_right(self, address: str) -> None:
        """The guess that was counted was a right code."""
        self._by_address.take_back(address)
        self._in_all.take_back(_EVERYWHERE)
