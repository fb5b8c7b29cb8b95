"""Leases that could not be renewed while the shared database was away."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dispatchd.core.limits import Limits
from tests.support.alive import beat
from tests.support.clock import FakeClock
from tests.support.cluster import Member, member
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.keyholders import OURS
from tests.support.postgres import Server

LIMITS = Limits(task_run_seconds=600)
Pair = tuple[Member, Member]


@pytest.fixture
def store(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
async def both(tmp_path: Path, store: str, clock: FakeClock) -> AsyncIterator[Pair]:
    """Two coordinators that have been there for a while."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(member(folder, store, LIMITS, clock))
            for folder in folders
        ]
        await sweep(clock, 40, first, second)
        yield first, second


async def sweep(clock: FakeClock, seconds: int, *members: Member) -> None:
    """Time passes, and these coordinators reach the database meanwhile."""
    for _ in range(seconds):
        clock.advance(1)
        for each in members:
            await each.parts.sweep.once()


async def leased(asked: Member, worker: ForeignWorker) -> str:
    """A job that a worker has, which has proven its key."""
    await worker.prove(await worker.register("TASK", **OURS))
    await beat(worker)
    job_id = await asked.commit()
    await worker.expect("job_assign")
    return job_id


async def test_after_an_outage_the_first_that_is_back_leaves_the_others_leases_alone(
    both: Pair, clock: FakeClock
) -> None:
    first, second = both
    async with foreign_worker(second.http, second.url) as worker:
        job_id = await leased(second, worker)
        clock.advance(60)  # neither reaches the database; the worker is heard all the same
        await beat(worker)
        await sweep(clock, 5, first)
        await sweep(clock, 1, second, first)
        await beat(worker)
        await sweep(clock, 29, second, first)
        await worker.complete(job_id)
        assert (await second.ended(job_id))["status"] == "completed"
        job = await second.parts.coordinator.get(job_id)
        assert (job.attempt, job.faults) == (1, 0)


async def test_what_nobody_renews_after_an_outage_is_tried_again(
    both: Pair, clock: FakeClock
) -> None:
    first, second = both
    async with foreign_worker(second.http, second.url) as worker:
        job_id = await leased(second, worker)
        clock.advance(60)
        await sweep(clock, 30, first)
        assert (await first.parts.coordinator.get(job_id)).faults == 0
        await sweep(clock, 1, first)
        assert (await first.parts.coordinator.get(job_id)).faults == 1
