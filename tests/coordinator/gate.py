"""A real store whose calls happen only when a test lets them, one at a time and in a chosen order.

Like the embedded store it has two lines, one of writes and one of reads; each is first come,
first served. A call is done in two moves: it happens, and then its caller learns of it.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from dispatchd.store.sql.store import SqlStore

_READS = frozenset(
    {
        "count_waiting",
        "get",
        "held_by",
        "overdue",
        "pairings_of",
        "known",
        "standings",
        "replay",
        "waiting",
        "waiting_lanes",
    }
)
_TURNS = 12


async def breathe() -> None:
    """Lets every task run until it waits for something that only a test can bring about."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


@dataclass
class Call:
    """A call of a verb, from its coming to its answer."""

    verb: str
    run: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]
    outcome: Any = None
    error: BaseException | None = None


@dataclass
class Line:
    """Calls that have come, and those that have happened but are not answered yet."""

    come: deque[Call] = field(default_factory=deque)
    happened: deque[Call] = field(default_factory=deque)


class Gate:
    """Holds back all calls; `move` lets one go one step further."""

    def __init__(self, after_write: Callable[[str], None] = lambda _: None) -> None:
        self._after_write = after_write
        self._writes = Line()
        self._reads = Line()
        self._dead = False
        self.calls: Counter[str] = Counter()
        """How often each verb has been called."""

    def over(self, store: SqlStore) -> SqlStore:
        """The same store behind the gate."""
        parts = (store.jobs, store.trust, store.payments, store.users, store.records)
        return cast("SqlStore", _All(*(_Gated(part, self) for part in parts)))

    @property
    def waiting(self) -> list[str]:
        """The verbs that have come and not happened."""
        return [call.verb for line in (self._writes, self._reads) for call in line.come]

    async def call(self, verb: str, run: Callable[[], Awaitable[Any]]) -> Any:
        """Waits in line."""
        self.calls[verb] += 1
        call = Call(verb, run, asyncio.get_running_loop().create_future())
        if not self._dead:
            line = self._reads if verb in _READS else self._writes
            line.come.append(call)
        return await call.answer

    async def move(self, pick: int) -> bool:
        """One of the moves that are possible now; false where there is none."""
        await breathe()
        moves: list[Callable[[], Awaitable[None]]] = []
        for line in (self._writes, self._reads):
            if line.come:
                moves.append(partial(self._let_happen, line))
            if line.happened:
                moves.append(partial(self._answer, line))
        if not moves:
            return False
        await moves[pick % len(moves)]()
        await breathe()
        return True

    async def until_quiet(self) -> None:
        """Lets everything happen."""
        while await self.move(0):
            pass

    async def die(self, *, flushed: bool) -> None:
        """From now on nothing is answered; what has come still happens if it was `flushed`."""
        self._dead = True
        while flushed and self._writes.come:
            await self._let_happen(self._writes)

    async def _let_happen(self, line: Line) -> None:
        call = line.come.popleft()
        try:
            call.outcome = await call.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            call.error = error
        line.happened.append(call)
        if line is self._writes:
            self._after_write(call.verb)

    async def _answer(self, line: Line) -> None:
        call = line.happened.popleft()
        if call.answer.done():
            return
        if call.error is not None:
            call.answer.set_exception(call.error)
        else:
            call.answer.set_result(call.outcome)


class _Gated:
    def __init__(self, real: object, gate: Gate) -> None:
        self._real = real
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._real, name)
        if not callable(verb):
            return verb
        return lambda *args, **named: self._gate.call(name, partial(verb, *args, **named))


@dataclass
class _All:
    jobs: _Gated
    trust: _Gated
    payments: _Gated
    users: _Gated
    records: _Gated
