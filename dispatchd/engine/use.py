"""Which models running nodes have in use, so that none is removed from under them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import ReadWriteLock, Timeout

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import plain_name

_USED = ".used"


def take(home: Path, name: str) -> ReadWriteLock:
    """The model of that name in `home` is in use for as long as this process lives.

    Unusable if it is just being removed.
    """
    lock = _lock(home, name)
    try:
        lock.acquire_read(blocking=False)
    except Timeout:
        raise Unusable(f"{name} is being removed by another dispatchd.") from None
    return lock


@contextmanager
def unused(home: Path, name: str) -> Iterator[None]:
    """Nobody takes the model into use meanwhile; Unusable if somebody has it in use."""
    lock = _lock(home, name)
    try:
        lock.acquire_write(blocking=False)
    except Timeout:
        raise Unusable(f"{name} is in use by a running dispatchd: stop that first.") from None
    try:
        yield
    finally:
        lock.release()


def _lock(home: Path, name: str) -> ReadWriteLock:
    (home / _USED).mkdir(exist_ok=True, mode=0o700)
    return ReadWriteLock(home / _USED / f"{plain_name(name)}.lock", is_singleton=False)
