"""How often things have happened of late: every statement that touches `rate_events`.

The store counts, so that it is one count for all coordinators. What is too old to count goes with
the next event of its kind.
"""

from dispatchd.core.errors import TooMany
from dispatchd.core.job import Millis, millis
from dispatchd.core.rate import Counted
from dispatchd.store.sql.database import Database

_ADD = "INSERT INTO rate_events (name, address, at) VALUES (?, ?, ?)"
_FORGET = "DELETE FROM rate_events WHERE name = ? AND at <= ?"
# Another event is allowed once the last but `max - 1` no longer counts.
_IN_ALL = "SELECT at FROM rate_events WHERE name = ? AND at > ? ORDER BY at DESC LIMIT 1 OFFSET ?"
_FROM_ADDRESS = (
    "SELECT at FROM rate_events WHERE name = ? AND address = ? AND at > ?"
    " ORDER BY at DESC LIMIT 1 OFFSET ?"
)


def alone_with(db: Database, counted: Counted) -> None:
    """Nobody else counts such events until the transaction ends."""
    rate = counted.rate
    whose = "" if rate.in_all_max is not None else f" {counted.address}"
    db.lock(f"rate {rate.name}{whose}")


def refuse_too_many(db: Database, counted: Counted, now: Millis) -> None:
    """Raises `TooMany` where no further event is allowed now."""
    rate = counted.rate
    span = millis(rate.seconds)
    since = now - span

    def pause(most: int, sql: str, *names: str) -> Millis:
        if most == 0:
            return span
        found = db.execute(sql, (*names, since, most - 1)).fetchone()
        return 0 if found is None else int(found[0]) - since

    longest = pause(rate.per_address_max, _FROM_ADDRESS, rate.name, counted.address)
    if rate.in_all_max is not None:
        longest = max(longest, pause(rate.in_all_max, _IN_ALL, rate.name))
    if longest > 0:
        raise TooMany(rate.refusal, longest / 1000)


def note(db: Database, counted: Counted, now: Millis) -> None:
    """It has happened."""
    rate = counted.rate
    db.execute(_FORGET, (rate.name, now - millis(rate.seconds)))
    db.execute(_ADD, (rate.name, counted.address, now))
