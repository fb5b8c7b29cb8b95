"""The queue has an order and a length, and nobody waits behind what is not theirs."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dispatchd.core.job import Tier
from dispatchd.core.limits import Limits
from tests.support.alive import live
from tests.support.clock import FakeClock
from tests.support.crowd import (
    PROMPT,
    SUMMARIZE,
    all_completed,
    autopilot,
    connected,
    health,
    job,
    offer,
    order,
)
from tests.support.foreign import ForeignWorker
from tests.support.node import Node, running_node
from tests.support.process import dispatchd

pytestmark = pytest.mark.long

JOBS = 10_000
CLIENTS = 64
PLACES = 32


@pytest.mark.timeout(120)
async def test_ten_thousand_jobs_at_once_complete_in_order(tmp_path: Path) -> None:
    database = tmp_path / "jobs.sqlite3"
    settings = ("--db", str(database), "--limit", "no_worker_seconds=600")
    arguments = ("run", "--testnet", "--no-worker", "--port", "0", *settings)
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    with dispatchd(*arguments, home=tmp_path, DISPATCHD_LOG_LEVEL="warning") as process:
        url = await asyncio.to_thread(process.url)
        async with aiohttp.ClientSession(connector=connector) as http:
            jobs = await commit_all(http, url)
            assert len(set(jobs)) == JOBS
            async with autopilot(http, url, max_concurrent_jobs=PLACES) as pilot:
                async with asyncio.timeout(60):
                    while len(pilot.assigned) < JOBS:
                        last = await asyncio.wait_for(next_assigned(pilot.assigned), 20)
                await all_completed(http, url, [last])
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute("SELECT id, tier, created_at, seq, attempt, status FROM jobs").fetchall()
    assert {(attempt, status) for *_, attempt, status in rows} == {(1, "completed")}
    in_order = sorted(rows, key=lambda row: (row[2] - 60_000 * (row[1] == "FAST"), row[3]))
    assert pilot.assigned == [row[0] for row in in_order]
    assert {jobs[job_id] for job_id in pilot.assigned[: JOBS // 2]} == {"fast"}
    assert pilot.errors == []
    assert "Traceback" not in process.err.text


async def next_assigned(assigned: list[str]) -> str:
    """Waits until more jobs have been assigned; the last of them."""
    before = len(assigned)
    while len(assigned) == before:
        await asyncio.sleep(0.01)
    return assigned[-1]


async def commit_all(http: aiohttp.ClientSession, url: str) -> dict[str, str]:
    """Commits all jobs over a number of connections; the tier of each."""
    tiers = itertools.islice(itertools.cycle(("cheap", "fast")), JOBS)
    jobs: dict[str, str] = {}

    async def client() -> None:
        for tier in tiers:
            status, answer, _ = await offer(http, url, order(), tier)
            assert status == 201, answer
            jobs[answer["job_id"]] = tier

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return jobs


async def test_no_job_fails_while_its_worker_is_merely_busy(
    tmp_path: Path, clock: FakeClock
) -> None:
    limits = Limits(llm_run_seconds=100_000)
    async with (
        running_node(tmp_path / "jobs.sqlite3", clock, limits) as node,
        connected(node) as worker,
    ):
        await worker.register("LLM_INFER")
        long = await node.commit(PROMPT)
        await worker.expect("job_assign")
        waiting = [await node.commit(PROMPT) for _ in range(3)]
        assert await live(node, 3600, worker) == []
        assert {(await node.job(job_id))["status"] for job_id in waiting} == {"pending"}
        await worker.complete(long)
        for job_id in waiting:
            assert (await worker.expect("job_assign"))["job_id"] == job_id
            await worker.complete(job_id)
        await node.until(waiting[-1], "completed")


async def order_of(node: Node, count: int, *capabilities: str) -> list[str]:
    """The order in which so many jobs are given to one worker with one place."""
    async with connected(node) as worker:
        await worker.register(*capabilities)
        done = [await done_next(worker) for _ in range(count)]
        await node.until(done[-1], "completed")
        return done


async def done_next(worker: ForeignWorker) -> str:
    """Completes the next job that the worker is given."""
    job_id = str((await worker.expect("job_assign"))["job_id"])
    await worker.complete(job_id)
    return job_id


@pytest.mark.parametrize(("seconds", "cheap_first"), [(59, False), (61, True)])
async def test_a_cheap_job_ages_past_newer_fast_ones(
    node: Node, seconds: int, *, cheap_first: bool
) -> None:
    cheap = await node.commit(SUMMARIZE)
    node.clock.advance(seconds)
    fast = await node.commit(SUMMARIZE, tier=Tier.FAST)
    expected = [cheap, fast] if cheap_first else [fast, cheap]
    assert await order_of(node, 2) == expected


async def test_the_head_start_can_be_set(tmp_path: Path, clock: FakeClock) -> None:
    limits = Limits(fast_head_start_seconds=5)
    async with running_node(tmp_path / "jobs.sqlite3", clock, limits) as node:
        cheap = await node.commit(SUMMARIZE)
        clock.advance(6)
        fast = await node.commit(SUMMARIZE, tier=Tier.FAST)
        assert await order_of(node, 2) == [cheap, fast]


async def test_both_job_types_share_one_order_on_a_worker_that_does_both(node: Node) -> None:
    jobs = []
    for n in range(10):
        jobs.append(await node.commit(PROMPT if n % 3 == 0 else SUMMARIZE))
        node.clock.advance(0.001)
    assert await order_of(node, 10) == jobs


async def test_a_job_that_comes_back_keeps_its_place(node: Node) -> None:
    jobs = []
    for _ in range(3):
        jobs.append(await node.commit(SUMMARIZE))
        node.clock.advance(1)
    async with connected(node) as leaver:
        await leaver.register()
        assert (await leaver.expect("job_assign"))["job_id"] == jobs[0]
    await node.until(jobs[0], "pending")
    assert await order_of(node, 3) == jobs


async def pair(node: Node, worker: ForeignWorker, user_id: str) -> None:
    body = {"user_id": user_id}
    async with node.http.post(f"{node.url}/v1/trust/create", json=body) as reply:
        code = (await reply.json())["pairing_code"]
    claim = {"pairing_code": code, "provider_pubkey": worker.pubkey}
    async with node.http.post(f"{node.url}/v1/trust/claim", json=claim) as reply:
        assert reply.status == 200
    await worker.pass_canary()


async def test_a_private_job_does_not_wait_behind_public_ones_of_others(
    node: Node, worker: ForeignWorker
) -> None:
    """200 public LLM_INFER jobs wait; the user's own worker only does TASK, and is free."""
    async with connected(node) as stranger:
        await stranger.register("LLM_INFER")
        public = [await node.commit(PROMPT, tier=Tier.FAST) for _ in range(200)]
        await worker.register("TASK")
        await pair(node, worker, "alice")
        private = await node.commit(SUMMARIZE, user_id="alice", privacy_class="PRIVATE")
        assert await done_next(worker) == private
        await node.until(private, "completed")
        assert (await node.job(public[-1]))["status"] == "pending"


async def test_a_public_job_does_not_wait_behind_private_ones(
    node: Node, worker: ForeignWorker
) -> None:
    """200 private jobs wait for the user's own worker, which is busy."""
    await worker.register()
    await pair(node, worker, "alice")
    private = [
        await node.commit(SUMMARIZE, tier=Tier.FAST, user_id="alice", privacy_class="PRIVATE")
        for _ in range(200)
    ]
    public = await node.commit(SUMMARIZE)
    assert await order_of(node, 1) == [public]
    assert (await node.job(private[-1]))["status"] == "pending"


async def test_one_users_private_jobs_do_not_wait_behind_anothers(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register()
    await pair(node, worker, "alice")
    for _ in range(50):
        await node.commit(SUMMARIZE, user_id="alice", privacy_class="PRIVATE")
    async with connected(node) as bobs:
        await bobs.register()
        await pair(node, bobs, "bob")
        job_id = await node.commit(SUMMARIZE, user_id="bob", privacy_class="PRIVATE")
        assert await done_next(bobs) == job_id
        await node.until(job_id, "completed")


async def test_rejected_jobs_hold_up_nobody(node: Node, worker: ForeignWorker) -> None:
    """What this worker has turned down waits for the other one, which is busy."""
    await worker.register()
    async with connected(node) as busy:
        await busy.register("TASK")
        jobs = [await node.commit(SUMMARIZE) for _ in range(2)]
        await busy.expect("job_assign")
        frame = await worker.expect("job_assign")
        for _ in range(100):
            await worker.send(type="job_reject", job_id=frame["job_id"], reason="no")
            jobs.append(await node.commit(SUMMARIZE))
            frame = await worker.expect("job_assign")
        assert frame["job_id"] == jobs[-1]


@asynccontextmanager
async def short_queue(tmp_path: Path, clock: FakeClock, **limits: Any) -> AsyncIterator[Node]:
    settings = Limits(**limits)
    async with running_node(tmp_path / "jobs.sqlite3", clock, settings) as node:
        yield node


async def refused(node: Node, body: dict[str, Any]) -> None:
    """The commit gets 429 and is told when to try again."""
    status, answer, headers = await offer(node.http, node.url, body)
    assert (status, answer["code"]) == (429, "too_many")
    assert int(headers["Retry-After"]) >= 1


async def test_a_full_queue_refuses_more_and_keeps_what_it_has(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with short_queue(tmp_path, clock, queue_jobs_max=5) as node:
        jobs = [await node.commit(SUMMARIZE) for _ in range(5)]
        for _ in range(3):
            await refused(node, order())
            await refused(node, order(PROMPT, user_id="another"))
        assert (await health(node.http, node.url))["status"] == "ok"
        async with connected(node) as worker:
            await worker.register()
            assert (await worker.expect("job_assign"))["job_id"] == jobs[0]
            jobs.append(await node.commit(SUMMARIZE))  # the assigned one no longer waits
            await refused(node, order())
            await worker.complete(jobs[0])
            assert [await done_next(worker) for _ in range(5)] == jobs[1:]
        for job_id in jobs:
            assert (await node.until(job_id, "completed"))["receipt"]
        assert await node.commit(SUMMARIZE)


async def test_a_full_queue_at_one_instant_holds_exactly_its_length(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with short_queue(tmp_path, clock, queue_jobs_max=20) as node:
        offers = (offer(node.http, node.url, order()) for _ in range(60))
        answers = await asyncio.gather(*offers)
        accepted = [answer["job_id"] for status, answer, _ in answers if status == 201]
        assert sorted(status for status, _, _ in answers) == [201] * 20 + [429] * 40
        async with autopilot(node.http, node.url) as pilot:
            for job_id in accepted:
                await node.until(job_id, "completed")
        assert sorted(pilot.assigned) == sorted(accepted)


async def test_the_length_of_the_queue_outlives_the_process(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with short_queue(tmp_path, clock, queue_jobs_max=3) as node:
        for _ in range(3):
            await node.commit(SUMMARIZE)
    async with short_queue(tmp_path, clock, queue_jobs_max=3) as node:
        await refused(node, order())
        await node.pass_time(31)
        assert await node.commit(SUMMARIZE)  # nobody came for those, so they have failed


async def test_a_user_may_have_only_so_many_jobs_under_way(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with short_queue(tmp_path, clock, open_jobs_per_user_max=2) as node:
        first = await node.commit(SUMMARIZE)
        second = await node.commit(SUMMARIZE)
        await refused(node, order())
        assert await node.commit(SUMMARIZE, user_id="another")
        async with connected(node) as worker:
            await worker.register()
            assert (await worker.expect("job_assign"))["job_id"] == first
            await refused(node, order())
            await worker.complete(first)
            await worker.expect("job_assign")
            await node.commit(SUMMARIZE)
            await refused(node, order())
        assert (await job(node.http, node.url, second))["status"] in {"pending", "assigned"}


async def test_many_commits_of_one_user_at_one_instant_stay_within_the_limit(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with short_queue(tmp_path, clock, open_jobs_per_user_max=3) as node:
        offers = (offer(node.http, node.url, order()) for _ in range(40))
        statuses = sorted(status for status, _, _ in await asyncio.gather(*offers))
        assert statuses == [201] * 3 + [429] * 37
