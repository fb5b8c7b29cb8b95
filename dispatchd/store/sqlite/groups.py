"""Groups what several tasks want of one connection, so that one thread hop and flush serves many.

What arrives while a group is being served forms the next one. Each caller waits for its own group,
so a write that has returned is on disk, and nobody waits for company.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from dispatchd.core.errors import StoreUnavailable
from dispatchd.store.sqlite.connection import Connection, refuse_newer

_T = TypeVar("_T")
Operation = Callable[[sqlite3.Connection], Any]
Serve = Callable[[sqlite3.Connection, list[Operation]], list[Any]]

OPERATIONS_PER_GROUP_MAX = 1024


class Grouped:
    """One connection, and those who wait for it in the order of their coming."""

    def __init__(self, connection: Connection, serve: Serve) -> None:
        self._connection = connection
        self._serve = serve
        self._waiting: list[tuple[Operation, asyncio.Future[Any]]] = []
        self._serving: asyncio.Task[None] | None = None
        self._closed = False
        self.problem: str | None = None
        """Why the last group failed, in a sentence; None where it did not."""

    async def do(self, operation: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs an operation and returns its result, or raises what it raised.

        An operation that raises must have changed nothing; guarded statements see to that.
        """
        if self._closed:
            raise StoreUnavailable("The job store is closed.")
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve_all(), name="store")
        return await future

    async def close(self) -> None:
        """Serves those who wait already, and nobody after them."""
        self._closed = True
        if self._serving is not None:
            await self._serving

    async def _serve_all(self) -> None:
        try:
            while self._waiting:
                group = self._waiting[:OPERATIONS_PER_GROUP_MAX]
                del self._waiting[:OPERATIONS_PER_GROUP_MAX]
                await self._serve_group(group)
        finally:
            self._serving = None

    async def _serve_group(self, group: list[tuple[Operation, asyncio.Future[Any]]]) -> None:
        operations = [operation for operation, _ in group]
        try:
            outcomes = await self._connection.call(lambda db: self._serve(db, operations))
            self.problem = None
        except StoreUnavailable as error:
            self.problem = str(error)
            outcomes = [error] * len(group)
        except Exception as error:  # noqa: BLE001 - a bug in one operation, told to all of its group
            outcomes = [error] * len(group)
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def reading(db: sqlite3.Connection, operations: list[Operation]) -> list[Any]:
    """Runs operations that only read, each by itself."""
    return [_outcome(db, operation) for operation in operations]


def writing(db: sqlite3.Connection, operations: list[Operation]) -> list[Any]:
    """Runs operations in one transaction, which is on disk when this returns."""
    db.execute("BEGIN IMMEDIATE")
    try:
        refuse_newer(db)
        outcomes = [_outcome(db, operation) for operation in operations]
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return outcomes


def _outcome(db: sqlite3.Connection, operation: Operation) -> Any:
    """An operation's result, or the error with which it declined."""
    before = db.total_changes
    try:
        return operation(db)
    except sqlite3.OperationalError:
        raise  # the store itself is in trouble
    except Exception as error:
        if db.total_changes != before:
            raise RuntimeError("an operation raised after it had changed something") from error
        return error
