"""Group commit: one task owns the writing connection, and writes that meet share a transaction.

What arrives while a transaction is being flushed forms the next one, and each caller waits for
its own, so that every write that has returned is on disk without one flush for each.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from dispatchd.core.errors import DispatchError, StoreUnavailable
from dispatchd.store.sqlite.connection import Connection, refuse_newer

_T = TypeVar("_T")
Operation = Callable[[sqlite3.Connection], Any]

WRITES_PER_COMMIT_MAX = 1024


class Writer:
    """Runs writes on one connection, many in each transaction, in the order of their coming."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[Operation, asyncio.Future[Any]]] = []
        self._ring = asyncio.Event()
        self._closing = False
        self.problem: str | None = None
        """Why the last transaction failed; None where it did not."""

    async def write(self, operation: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs an operation in a transaction and returns once that is on disk.

        A `DispatchError` or `IntegrityError` raised by the operation undoes that operation alone.
        """
        if self._closing:
            raise StoreUnavailable("The job store is closed.")
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        self._ring.set()
        return await future

    async def run(self) -> None:
        """Commits what is waiting, until `close` has been called and nothing waits any more."""
        while not (self._closing and not self._waiting):
            await self._ring.wait()
            self._ring.clear()
            while self._waiting:
                batch = self._waiting[:WRITES_PER_COMMIT_MAX]
                del self._waiting[:WRITES_PER_COMMIT_MAX]
                await self._commit(batch)

    def close(self) -> None:
        """Lets `run` return after the writes that already wait; later ones are refused."""
        self._closing = True
        self._ring.set()

    async def _commit(self, batch: list[tuple[Operation, asyncio.Future[Any]]]) -> None:
        operations = [operation for operation, _ in batch]
        try:
            outcomes = await self._connection.call(lambda db: _transaction(db, operations))
            self.problem = None
        except (StoreUnavailable, sqlite3.IntegrityError) as error:
            self.problem = str(error)
            outcomes = [error] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _transaction(db: sqlite3.Connection, operations: list[Operation]) -> list[Any]:
    """Runs operations in one transaction; each comes back as its result or its own error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        refuse_newer(db)
        outcomes = [_guarded(db, operation) for operation in operations]
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return outcomes


def _guarded(db: sqlite3.Connection, operation: Operation) -> Any:
    db.execute("SAVEPOINT operation")
    try:
        outcome = operation(db)
    except (DispatchError, sqlite3.IntegrityError) as error:
        if not db.in_transaction:
            raise  # SQLite has given up the whole transaction
        db.execute("ROLLBACK TO operation")
        outcome = error
    db.execute("RELEASE operation")
    return outcome
