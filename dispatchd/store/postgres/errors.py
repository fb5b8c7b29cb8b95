"""What PostgreSQL's errors mean to those who use the store."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from dispatchd.core.errors import StoreUnavailable

# By the first two characters of SQLSTATE: connection, resources, operator, system.
_TROUBLE = ("08", "53", "57", "58")
_READ_ONLY = "25006"
_LEFT_OPEN = "25P03"  # this process stood still amid a transaction, which the server has ended
_SPOILT = "25P02"
_CONTENDED = frozenset({"40001", "40P01"})


class Spoilt(StoreUnavailable):
    """A statement has failed, so that nothing more can be done in this transaction."""


class Contended(StoreUnavailable):
    """Another transaction was in the way; this one has changed nothing and may be tried again."""


@contextmanager
def our_errors() -> Iterator[None]:
    """Tells trouble with the database, and broken constraints, from mistakes in a statement."""
    try:
        yield
    except asyncpg.PostgresError as error:
        state = str(getattr(error, "sqlstate", "") or "")
        if state == _SPOILT:
            raise Spoilt(sentence(error)) from error
        if state in _CONTENDED:
            raise Contended(sentence(error)) from error
        if state.startswith(_TROUBLE) or state in {_READ_ONLY, _LEFT_OPEN}:
            raise StoreUnavailable(sentence(error)) from error
        raise
    except (asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise StoreUnavailable(sentence(error)) from error


def sentence(error: Exception) -> str:
    """What is said of an error; the server's own words, without what was asked."""
    words = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return f"The job store does not work at the moment: {words}."
