"""Groups what several tasks want of one connection, so that one thread hop and flush serves many.

What arrives while a group is being served forms the next one. Each caller waits for its own group,
so a write that has returned is on disk, and nobody waits for company.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeVar

from dispatchd.core.errors import LeaseLost, StoreUnavailable
from dispatchd.store.sql.database import Database

_T = TypeVar("_T")
Operation = Callable[[Database], Any]
Serve = Callable[[Any, list[Any]], list[Any]]

Flushed = Callable[[int, float], None]
"""Is told how many operations a group had, and how many seconds it took."""

OPERATIONS_PER_GROUP_MAX = 1024


class Caller(Protocol):
    """A connection that runs whole operations."""

    async def call(self, work: Callable[[Database], _T]) -> _T:
        """Runs `work`; raises `StoreUnavailable` where the database is in trouble."""
        ...


class Reads(Protocol):
    """Where operations that change nothing are done."""

    async def do(self, operation: Callable[[Database], _T]) -> _T:
        """Runs an operation and returns its result, or raises what it raised."""
        ...


class Bulk:
    """An operation that is done together with all others of its kind in the group.

    Each statement costs SQLite's two threads a hand-over of the interpreter, and PostgreSQL a
    round trip, so one for many rows is worth more than it saves in the database itself.
    """

    def __init__(self, run: Callable[[Database, list[Any]], bool], item: Any) -> None:
        self.run = run
        self.item = item


class Grouped:
    """One connection, and those who wait for it in the order of their coming."""

    def __init__(
        self,
        connection: Caller,
        serve: Serve,
        flushed: Flushed | None = None,
        now_seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._flushed = flushed
        self._now_seconds = now_seconds
        self._connection = connection
        self._serve = serve
        self._waiting: list[tuple[Operation | Bulk, asyncio.Future[Any]]] = []
        self._serving: asyncio.Task[None] | None = None
        self._closed = False
        self.problem: str | None = None
        """Why the last group failed, in a sentence; None where it did not."""

    async def do(self, operation: Callable[[Database], _T]) -> _T:
        """Runs an operation and returns its result, or raises what it raised.

        An operation that raises must have changed nothing; guarded statements see to that.
        """
        result: _T = await self._wait_for(operation)
        return result

    async def do_in_bulk(self, run: Callable[[Database, list[Any]], bool], item: object) -> None:
        """Does something to an item, together with all others that want the same done.

        `run` says whether it could be done to every item; raises `LeaseLost` where it could not be
        done to this one.
        """
        await self._wait_for(Bulk(run, item))

    async def _wait_for(self, operation: Operation | Bulk) -> Any:
        if self._closed:
            raise StoreUnavailable("The job store is closed.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
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

    async def _serve_group(self, group: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        operations = [operation for operation, _ in group]
        began = self._now_seconds()
        try:
            outcomes = await self._connection.call(lambda db: self._serve(db, operations))
            self.problem = None
        except StoreUnavailable as error:
            self.problem = str(error)
            outcomes = [error] * len(group)
        except Exception as error:  # noqa: BLE001 - a bug in one operation, told to all of its group
            outcomes = [error] * len(group)
        if self._flushed is not None:
            self._flushed(len(group), self._now_seconds() - began)
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def reading(db: Database, operations: list[Operation]) -> list[Any]:
    """Runs operations that only read, each by itself."""
    return [_outcome(db, operation) for operation in operations]


def outcomes_of(db: Database, operations: list[Operation | Bulk]) -> list[Any]:
    """Each operation's outcome; those of one kind are done where the first of them stands."""
    kinds: dict[Any, list[int]] = {}
    for place, operation in enumerate(operations):
        kind = operation.run if isinstance(operation, Bulk) else place
        kinds.setdefault(kind, []).append(place)
    outcomes: list[Any] = [None] * len(operations)
    for places in kinds.values():
        alike = [operations[place] for place in places]
        for place, outcome in zip(places, _outcomes_alike(db, alike), strict=True):
            outcomes[place] = outcome
    return outcomes


def _outcomes_alike(db: Database, alike: list[Operation | Bulk]) -> list[Any]:
    first = alike[0]
    if not isinstance(first, Bulk):
        return [_outcome(db, first)]
    run, items = first.run, [each.item for each in alike if isinstance(each, Bulk)]
    if len(items) > 1 and _all_at_once(db, run, items):
        return [None] * len(items)
    return [_outcome(db, partial(_alone, run=run, item=item)) for item in items]


def _all_at_once(db: Database, run: Callable[..., bool], items: list[Any]) -> bool:
    """Whether all went well together; if not, nothing is changed."""
    db.execute("SAVEPOINT bulk")
    try:
        done = run(db, items)
    except db.IntegrityError:
        done = False
    if not done:
        db.execute("ROLLBACK TO bulk")
    db.execute("RELEASE bulk")
    return done


def _alone(db: Database, run: Callable[..., bool], item: Any) -> None:
    if not run(db, [item]):
        raise LeaseLost("the job is no longer in that state")


def _outcome(db: Database, operation: Operation) -> Any:
    """An operation's result, or the error with which it declined."""
    before = db.total_changes
    try:
        return operation(db)
    except db.OperationalError:
        raise  # the store itself is in trouble
    except Exception as error:
        if db.total_changes != before:
            raise RuntimeError("an operation raised after it had changed something") from error
        return error
