"""The shared database goes away for a while, or coordinators are killed: nothing is lost."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dispatchd.core.job import JobType
from tests.support.chaos import Chaos, Plan
from tests.support.cluster import PATIENCE_SECONDS, Member, member
from tests.support.executors import Scripted
from tests.support.ours import our_worker
from tests.support.postgres import Server, programs, running_server

pytestmark = pytest.mark.long

DONE: dict[str, object] = {"summary": "x", "word_count": 1}


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own, since it is stopped."""
    if (folder := programs()) is None:
        pytest.skip("needs program: initdb")
    with running_server(folder) as running:
        yield running


async def refused(asked: Member) -> None:
    """A commit gets 503, and is told when to try again."""
    payload = {"job_type": "TASK", "task_type": "summarize", "input": "a b c"}
    body = {"job_type": "TASK", "user_id": "ann", "payload": payload}
    async with asked.http.post(f"{asked.url}/v1/jobs/commit/cheap", json=body) as reply:
        assert (reply.status, (await reply.json())["code"]) == (503, "store_unavailable")
        assert int(reply.headers["Retry-After"]) >= 1


async def test_while_the_database_is_away_jobs_run_on_and_results_are_held(
    tmp_path: Path, server: Server
) -> None:
    script = Scripted()
    async with AsyncExitStack() as stack:
        pair = []
        for name in "ab":
            (tmp_path / name).mkdir()
            pair.append(await stack.enter_async_context(member(tmp_path / name, server.url)))
        first, second = pair
        await stack.enter_async_context(our_worker(second.url, {JobType.TASK: script}))
        job_id = await first.commit()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await script.started.wait()
        await asyncio.to_thread(server.stop)
        for each in pair:
            await refused(each)
            async with each.http.get(f"{each.url}/v1/health") as reply:
                assert (await reply.json())["status"] == "degraded"
        script.pieces.put_nowait(DONE)
        await refused(second)
        await asyncio.to_thread(server.start)
        assert (await first.ended(job_id))["status"] == "completed"
        assert (await first.parts.coordinator.get(job_id)).attempt == 1
        script.pieces.put_nowait(DONE)
        assert (await second.ended(await first.commit()))["status"] == "completed"


@pytest.mark.timeout(240)
async def test_coordinators_are_killed_and_the_database_crashes(
    tmp_path: Path, server: Server
) -> None:
    """A short run of `scripts/check_cluster.py`."""
    plan = Plan(seconds=9, kill_every=3, restart_store=True)
    chaos = Chaos(server, server.url, tmp_path, plan, random.Random(1))
    found = await chaos.run()
    assert found.kills >= 2
    assert found.good, found
