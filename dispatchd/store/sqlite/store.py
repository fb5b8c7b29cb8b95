"""Opens the embedded store: its lock, its migrations, and its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from msgspec import Struct

from dispatchd.core.errors import Unusable
from dispatchd.store.sqlite.chain import SqliteChain
from dispatchd.store.sqlite.connection import cannot_use, connect, prepare
from dispatchd.store.sqlite.groups import Flushed, Grouped, Serve, reading, writing
from dispatchd.store.sqlite.jobs import SqliteJobs
from dispatchd.store.sqlite.ledger import SqliteLedger
from dispatchd.store.sqlite.payments import SqlitePayments
from dispatchd.store.sqlite.records import SqliteRecords
from dispatchd.store.sqlite.trust import SqliteTrust
from dispatchd.store.sqlite.users import SqliteUsers


class SqliteStore(Struct, frozen=True):
    """The store's parts, over the same file."""

    jobs: SqliteJobs
    trust: SqliteTrust
    ledger: SqliteLedger
    payments: SqlitePayments
    chain: SqliteChain
    users: SqliteUsers
    records: SqliteRecords


@asynccontextmanager
async def open_sqlite(path: Path, flushed: Flushed | None = None) -> AsyncIterator[SqliteStore]:
    """Opens the database file for this process alone; raises `Unusable` where that fails.

    `flushed` is told of every group of writes.
    """
    lock = _lock(path)
    try:
        prepare(path)
        async with _grouped(path, writing, flushed) as writer, _grouped(path, reading) as reader:
            yield SqliteStore(
                SqliteJobs(writer, reader),
                SqliteTrust(writer, reader),
                SqliteLedger(writer, reader),
                SqlitePayments(writer, reader),
                SqliteChain(writer, reader),
                SqliteUsers(writer, reader),
                SqliteRecords(writer, reader),
            )
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
