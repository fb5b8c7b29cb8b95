"""The network at a glance and live: right, bounded, and nothing that its visitor may not see."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatchd.api.access import KeyRules
from dispatchd.core.limits import Limits
from tests.support.clock import FakeClock
from tests.support.events import events
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import Node, running_node

TASK: dict[str, Any] = {"job_type": "TASK", "task_type": "classify", "input": "It works well."}
LLM: dict[str, Any] = {"job_type": "LLM_INFER", "prompt": "What is a blockchain?"}
PATIENCE = 10.0
Stream = AsyncIterator[tuple[str, Any, str]]


async def get(node: Node, path: str, key: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with node.http.get(f"{node.url}{path}", headers=headers) as reply:
        return reply.status, json.loads(await reply.text())


async def glance(node: Node, key: str = "") -> dict[str, Any]:
    node.clock.advance(1)  # past the frame that others have seen
    status, found = await get(node, "/v1/network", key)
    assert status == 200
    return found


@asynccontextmanager
async def watching(node: Node, key: str = "") -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with node.http.get(f"{node.url}/v1/network/events", headers=headers) as reply:
        assert (reply.status, reply.content_type) == (200, "text/event-stream")
        yield events(reply)


async def next_event(stream: Stream) -> tuple[str, dict[str, Any]]:
    async with asyncio.timeout(PATIENCE):
        name, data, _ = await anext(stream)
    return name, data


async def until(node: Node, stream: Stream, wanted: str, job_id: str) -> list[dict[str, Any]]:
    """The events until one in which a job has a status; time passes between them."""
    seen = []
    async with asyncio.timeout(PATIENCE):
        while True:
            coming = asyncio.ensure_future(anext(stream))
            while not coming.done():
                node.clock.advance(0.25)
                await asyncio.wait({coming}, timeout=0.01)
            _, data, _ = coming.result()
            seen.append(data)
            if any(job["id"] == job_id and job["status"] == wanted for job in data["jobs"]):
                return seen


async def done(node: Node, worker: ForeignWorker, seconds: float = 0.5) -> str:
    """A job that the worker has completed after so long."""
    job_id = await node.commit(TASK)
    await worker.expect("job_assign")
    node.clock.advance(seconds)
    await worker.complete(job_id)
    await node.until(job_id, "completed")
    return job_id


@asynccontextmanager
async def worker_of(node: Node, *capabilities: str) -> AsyncIterator[ForeignWorker]:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register(*capabilities)
        yield worker


async def user_with_key(node: Node, user_id: str) -> str:
    async with node.http.post(f"{node.url}/v1/users", json={"user_id": user_id}) as reply:
        assert reply.status == 201
        return str((await reply.json())["api_key"])


def ids(found: dict[str, Any]) -> list[str]:
    return [job["id"] for job in found["jobs"]]


async def test_a_glance_counts_what_was_and_is(node: Node) -> None:
    assert (await glance(node))["now"] == {
        "workers_online": 0,
        "waiting": 0,
        "running": 0,
        "completed": 0,
        "failed": 0,
        "completed_in_last_minute": 0,
    }
    async with worker_of(node) as worker:
        first = await done(node, worker)
        second = await node.commit(LLM)
        await worker.expect("job_assign")
        third = await node.commit(TASK)
        found = await glance(node)
        numbers = found["now"]
        assert (numbers["waiting"], numbers["running"], numbers["completed"]) == (1, 1, 1)
        assert ids(found) == [third, second, first]
        (shown,) = found["workers"]
        assert (shown["provider_pubkey"], shown["active_jobs"]) == (worker.pubkey, 1)
        (bucket,) = [each for each in found["series"] if each["completed"]]
        assert bucket["completed"]["TASK"]["completed"] == 1
        assert bucket["completed"]["TASK"]["p50"] == pytest.approx(0.5, rel=0.1)


async def test_a_clock_that_is_set_back_stops_no_glance(node: Node) -> None:
    before = await glance(node)
    node.clock.advance(-3600)
    async with worker_of(node):
        _, found = await get(node, "/v1/network")
    assert found["now"]["workers_online"] == 1
    assert found["timestamp"] < before["timestamp"]


async def test_numbers_of_long_ago_are_forgotten(node: Node) -> None:
    async with worker_of(node) as worker:
        await done(node, worker)
        for _ in range(16):
            node.clock.advance(60)
            await worker.send(type="heartbeat")
            await worker.expect("heartbeat_ack")
        found = await glance(node)
        assert found["series"] == []
        assert (found["now"]["completed"], found["now"]["completed_in_last_minute"]) == (1, 0)


async def test_a_watcher_sees_a_job_from_commit_to_end(node: Node) -> None:
    async with worker_of(node) as worker, watching(node) as stream:
        name, first = await next_event(stream)
        assert (name, first["jobs"], first["present"]) == ("snapshot", [], [worker.pubkey])
        job_id = await done(node, worker)
        seen = await until(node, stream, "completed", job_id)
        last = next(job for job in seen[-1]["jobs"] if job["id"] == job_id)
        steps = [step["event"] for step in last["steps"]]
        assert steps == ["committed", "assigned", "completed"]
        assert last["provider_pubkey"] == worker.pubkey
        assert "network" not in seen[-1]


async def test_workers_come_and_go_as_it_happens(node: Node) -> None:
    async with watching(node) as stream:
        assert (await next_event(stream))[1]["present"] == []
        async with worker_of(node) as worker:
            node.clock.advance(1)
            while worker.pubkey not in (change := (await next_event(stream))[1]).get("present", ()):
                node.clock.advance(1)
            assert [each["provider_pubkey"] for each in change["workers"]] == [worker.pubkey]
            await asyncio.sleep(0)
        present = [worker.pubkey]
        async with asyncio.timeout(PATIENCE):
            while present:
                coming = asyncio.ensure_future(anext(stream))
                while not coming.done():
                    node.clock.advance(0.25)
                    await asyncio.wait({coming}, timeout=0.01)
                present = coming.result()[1].get("present", present)


async def test_a_slow_watcher_gets_one_newest_state(node: Node) -> None:
    async with worker_of(node) as worker, watching(node) as stream:
        await next_event(stream)
        jobs = [await done(node, worker, 0.001) for _ in range(60)]
        (_, *rest) = await until(node, stream, "completed", jobs[-1])
        assert len(rest) < 5, "changes are merged"
        last = (await glance(node))["jobs"]
        assert len(last) == 50
        assert last[0]["id"] == jobs[-1]


async def test_what_is_kept_is_bounded(node: Node) -> None:
    for _ in range(300):
        await node.commit(TASK)
    recent = node.parts.coordinator.overview.recent
    assert len(recent._lives) == 256
    assert len((await glance(node))["jobs"]) == 50


async def test_no_more_watchers_than_allowed(tmp_path: Path, clock: FakeClock) -> None:
    limits = Limits(watchers_max=1)
    async with running_node(tmp_path / "jobs.sqlite3", clock, limits) as node:
        async with watching(node) as stream:
            await next_event(stream)
            status, body = await get(node, "/v1/network/events")
            assert (status, body["code"]) == (429, "too_many")
        async with asyncio.timeout(PATIENCE):
            while (await get(node, "/v1/network"))[1]["now"]["failed"] or node.parts.feed._watchers:
                node.clock.advance(1)
                node.parts.coordinator.overview.recent.crowd_changed()
        async with watching(node) as stream:
            assert (await next_event(stream))[0] == "snapshot"


async def test_private_jobs_are_shown_to_their_user_alone(node: Node) -> None:
    ann, bob = await user_with_key(node, "ann"), await user_with_key(node, "bob")
    async with worker_of(node) as worker:
        async with node.http.post(
            f"{node.url}/v1/trust/create",
            json={"user_id": "ann"},
            headers={"Authorization": f"Bearer {ann}"},
        ) as reply:
            code = (await reply.json())["pairing_code"]
        claim = {"pairing_code": code, "provider_pubkey": worker.pubkey}
        async with node.http.post(f"{node.url}/v1/trust/claim", json=claim) as reply:
            assert reply.status == 200
        await worker.pass_canary()
        body = {"job_type": "TASK", "user_id": "ann", "privacy_class": "PRIVATE", "payload": TASK}
        headers = {"Authorization": f"Bearer {ann}"}
        url = f"{node.url}/v1/jobs/commit/cheap"
        async with watching(node) as mine, watching(node, ann) as hers:
            await next_event(mine)
            await next_event(hers)
            async with node.http.post(url, json=body, headers=headers) as reply:
                job_id = (await reply.json())["job_id"]
            await worker.expect("job_assign")
            public = await node.commit(TASK)
            await until(node, hers, "assigned", job_id)
            seen = await until(node, mine, "pending", public)
            assert job_id not in json.dumps(seen)
    for key, visible in (("", False), (bob, False), (ann, True)):
        assert (job_id in ids(await glance(node, key))) is visible
        status, found = await get(node, f"/v1/jobs/{job_id}/timeline", key)
        assert status == (200 if visible else 401)
        assert ("steps" in found) is visible


async def test_where_keys_are_required_nothing_is_shown_without(
    tmp_path: Path, clock: FakeClock
) -> None:
    rules = KeyRules(required=True, open=True)
    async with running_node(tmp_path / "jobs.sqlite3", clock, rules=rules) as node:
        for path in ("/v1/network", "/v1/network/events"):
            assert (await get(node, path))[0] == 401
        key = await user_with_key(node, "ann")
        assert (await get(node, "/v1/network", key))[0] == 200


async def test_a_timeline_tells_of_attempts_that_came_to_nothing(node: Node) -> None:
    job_id = await node.commit(LLM)
    async with worker_of(node) as first:
        await first.expect("job_assign")
        await first.send(type="job_progress", job_id=job_id, delta="one")
        await node.until(job_id, "running")
    await node.until(job_id, "pending")
    async with worker_of(node) as second:
        await second.expect("job_assign")
        await second.complete(job_id, '{"text":"one two"}')
        await node.until(job_id, "completed")
    _, life = await get(node, f"/v1/jobs/{job_id}/timeline")
    assert [(step["event"], step.get("attempt")) for step in life["steps"]] == [
        ("committed", None),
        ("assigned", 1),
        ("first_text", 1),
        ("returned", 1),
        ("assigned", 2),
        ("completed", 2),
    ]
    assert (life["whole"], life["attempts"]) == (True, 2)
    assert life["steps"][3]["reason"] == "worker_disconnected"


async def test_a_workers_own_words_are_cut_short(node: Node) -> None:
    async with worker_of(node) as worker:
        job_id = await node.commit(TASK)
        await worker.expect("job_assign")
        failure = json.dumps({"error": "x" * 1000})
        await worker.send(type="job_complete", job_id=job_id, output=json.loads(failure))
        await node.until(job_id, "pending")
        _, life = await get(node, f"/v1/jobs/{job_id}/timeline")
    returned = [step for step in life["steps"] if step["event"] == "returned"]
    assert returned[0]["reason"] == "x" * 200


async def test_after_a_restart_a_timeline_says_what_is_stored_and_no_more(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "jobs.sqlite3"
    async with running_node(path, clock) as node, worker_of(node) as worker:
        job_id = await done(node, worker)
    async with running_node(path, clock) as node:
        _, life = await get(node, f"/v1/jobs/{job_id}/timeline")
    assert life["whole"] is False
    assert [(step["event"], step["at"] is None) for step in life["steps"]] == [
        ("committed", False),
        ("assigned", True),
        ("completed", False),
    ]


async def test_jobs_that_nobody_could_do_are_counted_once(node: Node) -> None:
    first, second = await node.commit(TASK), await node.commit(LLM)
    waiting = asyncio.create_task(get(node, f"/v1/jobs/{first}?wait=60"))
    while not node.parts.feed._watchers:
        await asyncio.sleep(0.002)
    await node.pass_time(40)
    assert (await waiting)[1]["status"] == "failed"
    found = await glance(node)
    assert (found["now"]["failed"], found["now"]["waiting"]) == (2, 0)
    failed = {job["id"]: job["steps"][-1]["reason"] for job in found["jobs"]}
    assert failed == {first: "no_eligible_worker", second: "no_eligible_worker"}


async def test_a_watcher_that_reads_nothing_is_kept_alive_and_let_go(node: Node) -> None:
    async with node.http.get(f"{node.url}/v1/network/events") as reply:
        await next_event(events(reply))
        node.clock.advance(15)
        line = b""
        async with asyncio.timeout(PATIENCE):
            while line != b": still here\n":
                coming = asyncio.ensure_future(reply.content.readline())
                while not coming.done():
                    node.clock.advance(15)
                    await asyncio.wait({coming}, timeout=0.01)
                line = coming.result()
        node.parts.feed.close()
        node.clock.advance(1)
        async with asyncio.timeout(PATIENCE):
            await reply.content.read()


async def test_unknown_jobs_have_no_timeline(node: Node) -> None:
    missing = "6d9b35a5-e0fe-4ad5-80e4-a8d746c18512"
    assert (await get(node, f"/v1/jobs/{missing}/timeline"))[0] == 404
