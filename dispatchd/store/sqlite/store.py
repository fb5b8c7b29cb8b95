"""Opens the embedded store: its lock, its migrations, and its parts."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dispatchd.core.errors import Unusable
from dispatchd.store.sql.groups import Flushed, Grouped, Serve, reading
from dispatchd.store.sql.store import SqlStore, store_over
from dispatchd.store.sqlite.connection import cannot_use, connect, prepare
from dispatchd.store.sqlite.writing import writing


@asynccontextmanager
async def open_sqlite(path: Path, flushed: Flushed | None = None) -> AsyncIterator[SqlStore]:
    """Opens the database file for this process alone; raises `Unusable` where that fails.

    `flushed` is told of every group of writes.
    """
    with alone(path):
        async with _grouped(path, writing, flushed) as writer, _grouped(path, reading) as reader:
            yield store_over(writer, reader)


@contextmanager
def alone(path: Path) -> Iterator[Path]:
    """The database file, of the present version, for this process alone; raises `Unusable`."""
    lock = _lock(path)
    try:
        prepare(path)
        yield path
    finally:
        lock.release()


def _lock(path: Path) -> FileLock:
    """Taken before anything is looked at: another version may be about to migrate the file."""
    lock = FileLock(f"{path}.lock", mode=0o600)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire(timeout=0)
    except Timeout:
        raise Unusable(
            f"Another dispatchd uses {path}. Stop it, or choose another --data-dir."
        ) from None
    except OSError as error:
        raise Unusable(cannot_use(path, error)) from None
    return lock


@asynccontextmanager
async def _grouped(
    path: Path, serve: Serve, flushed: Flushed | None = None
) -> AsyncIterator[Grouped]:
    async with connect(path) as connection:
        grouped = Grouped(connection, serve, flushed)
        try:
            yield grouped
        finally:
            await grouped.close()
