"""The worker's loop, where the store behind its source is away for a while."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dispatchd.core.card import Slots
from dispatchd.core.errors import ExecutionFailed, StoreUnavailable
from dispatchd.core.job import Assignment, Completion, Fault, JobType, Lease
from dispatchd.core.keys import KeyPair
from dispatchd.worker.worker import Worker
from tests.support.clock import FakeClock
from tests.support.executors import Gated

LEASE = Lease("job", 1)
TASKS = frozenset({JobType.TASK})
PATIENCE_SECONDS = 10


class Source:
    """Has one job, and refuses what is handed in for it as often as the test says."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.refused = asyncio.Event()
        self.taken: asyncio.Future[Completion | Fault] = asyncio.Future()
        self._given = False

    async def claim(self, job_types: frozenset[JobType]) -> Assignment:
        if self._given:
            await asyncio.Event().wait()
        self._given = True
        return Assignment(LEASE, "TASK", "{}")

    async def progress(self, lease: Lease, text: str) -> None: ...

    async def lost(self, lease: Lease) -> None:
        await asyncio.Event().wait()

    async def finish(self, lease: Lease, done: Completion) -> None:
        self._take(done)

    async def fail(self, lease: Lease, fault: Fault) -> None:
        self._take(fault)

    def _take(self, outcome: Completion | Fault) -> None:
        if self.refusals:
            self.refusals -= 1
            self.refused.set()
            raise StoreUnavailable("disk full")
        self.taken.set_result(outcome)


@pytest.mark.parametrize("result", [{"summary": "x"}, ExecutionFailed("too_hot")])
async def test_what_a_worker_hands_in_is_kept_until_the_store_is_back(
    clock: FakeClock, result: dict[str, object] | Exception
) -> None:
    source = Source(refusals=2)
    task = Gated(result)
    task.go.set()
    worker = Worker(source, {JobType.TASK: task}, KeyPair.generate(), clock)
    running = asyncio.create_task(worker.run((Slots(TASKS, 1),)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(2):
            await next_of(source.refused.wait, running)
            source.refused.clear()
            await asyncio.sleep(0)
            clock.advance(1)
        outcome = await source.taken
    running.cancel()
    assert isinstance(outcome, Fault if isinstance(result, Exception) else Completion)


async def next_of(wait: Callable[[], Awaitable[object]], running: asyncio.Task[None]) -> None:
    """Waits, unless the worker has ended, which it must not."""
    waiting = asyncio.ensure_future(wait())
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
