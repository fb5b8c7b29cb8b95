"""Workers that come, break off and come back while jobs flow: no job is left behind by any of it.

The clock stands still here, so nothing is mended by a lease that runs out.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from dispatchd.core.limits import Limits
from tests.support.clock import FakeClock
from tests.support.crowd import SUMMARIZE, all_completed, autopilot, connected, health
from tests.support.foreign import ForeignWorker
from tests.support.node import Node, running_node

JOBS = 60
BREAKS = 60
PATIENT = Limits(faults_max=1000, refusal_seconds=0)


@pytest.fixture
async def patient(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Node]:
    """A node that never gives a job up."""
    async with running_node(tmp_path / "jobs.sqlite3", clock, PATIENT) as node:
        yield node


async def act(worker: ForeignWorker, chance: random.Random) -> None:
    """Takes a job and does something with it, or breaks off before."""
    await worker.register(max_concurrent_jobs=chance.randint(1, 4), version="0")
    for _ in range(chance.randint(0, 3)):
        try:
            async with asyncio.timeout(0.2):
                frame = await worker.expect("job_assign")
        except (TimeoutError, AssertionError):
            return
        match chance.randrange(4):
            case 0:
                await worker.complete(frame["job_id"])
            case 1:
                await worker.send(type="job_progress", job_id=frame["job_id"], delta="x")
            case 2:
                await worker.send(type="job_reject", job_id=frame["job_id"], reason="x")
            case _:
                pass


async def churn(node: Node, chance: random.Random, key: SigningKey | None) -> None:
    for _ in range(BREAKS // 3):
        async with connected(node, key) as worker:
            with suppress(ConnectionError):
                await act(worker, chance)
            if chance.random() < 0.5:
                worker.socket._writer.transport.abort()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("same_key", [False, True])
async def test_no_job_is_left_behind(patient: Node, seed: int, *, same_key: bool) -> None:
    chance = random.Random(seed)
    key = SigningKey.generate() if same_key else None
    jobs = [await patient.commit(SUMMARIZE) for _ in range(JOBS)]
    await asyncio.gather(*(churn(patient, chance, key) for _ in range(3)))
    await none_online(patient)
    async with autopilot(patient.http, patient.url, max_concurrent_jobs=4) as pilot:
        await until_quiet(patient, jobs)
        done = await all_completed(patient.http, patient.url, jobs, 15)
    assert len(done) == JOBS
    assert pilot.errors == []
    assert max(pilot.attempts.values(), default=1) == 1


async def none_online(node: Node) -> None:
    async with asyncio.timeout(10):
        while (await health(node.http, node.url))["workers_online"]:
            await asyncio.sleep(0.01)


async def until_quiet(node: Node, jobs: list[str]) -> None:
    """Lets the retried ones, which wait for a sweep, be looked at."""
    async with asyncio.timeout(6):
        for job_id in jobs:
            while (await node.job(job_id))["status"] != "completed":
                await node.parts.sweep.once()
                await asyncio.sleep(0.005)
