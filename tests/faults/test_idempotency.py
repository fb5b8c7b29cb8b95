"""A key and a body name one job: for a day, through restarts, and however many ask at once."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dispatchd.api.app import Edge
from dispatchd.core.limits import Limits
from dispatchd.core.network import MONAD
from tests.support.clock import FakeClock
from tests.support.crowd import PROMPT, SUMMARIZE, autopilot, connected, offer, order
from tests.support.node import Node, running_node

DAY_SECONDS = 86_400
REPLAY = "Idempotent-Replay"


async def commit(
    node: Node, key: str, tier: str = "cheap", **fields: Any
) -> tuple[int, str | None, bool]:
    """The status, the job and whether it is a replay."""
    body = order() | fields
    status, answer, headers = await offer(node.http, node.url, body, tier, {"Idempotency-Key": key})
    assert ("error" in answer) == (status >= 400)
    assert headers.get(REPLAY) in {None, "true"}
    return status, answer.get("job_id"), REPLAY in headers


async def test_the_same_key_and_body_give_the_same_job(node: Node) -> None:
    status, job_id, replayed = await commit(node, "k")
    assert (status, replayed) == (201, False)
    for _ in range(3):
        assert await commit(node, "k") == (201, job_id, True)
    async with autopilot(node.http, node.url) as pilot:
        await node.until(str(job_id), "completed")
        assert await commit(node, "k") == (201, job_id, True)
        await node.until(await node.commit(SUMMARIZE), "completed")
    assert pilot.attempts[str(job_id)] == 1
    assert len(pilot.assigned) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"tier": "fast"},
        {"payload": SUMMARIZE | {"input": "Another text."}},
        {"payload": SUMMARIZE | {"unknown": 1}},
        {"job_type": "LLM_INFER", "payload": PROMPT},
        {"privacy_class": "PRIVATE"},
    ],
    ids=str,
)
async def test_another_body_or_endpoint_is_a_conflict(node: Node, changed: dict[str, Any]) -> None:
    _, job_id, _ = await commit(node, "k")
    status, other, replayed = await commit(node, "k", **changed)
    assert (status, other, replayed) == (409, None, False)
    assert await commit(node, "k") == (201, job_id, True)


async def test_each_user_has_keys_of_their_own(node: Node) -> None:
    _, job_id, _ = await commit(node, "k")
    status, other, replayed = await commit(node, "k", user_id="another")
    assert (status, replayed) == (201, False)
    assert other != job_id
    assert await commit(node, "k", user_id="another") == (201, other, True)


async def test_keys_differ_in_every_character(node: Node) -> None:
    keys = ["k", "K", "k1", "kk", "k k", "é", "x" * 255]
    jobs = {key: await commit(node, key) for key in keys}
    assert len({job_id for _, job_id, _ in jobs.values()}) == len(keys)


async def test_a_key_stands_for_a_day(node: Node) -> None:
    _, job_id, _ = await commit(node, "k")
    node.clock.advance(DAY_SECONDS - 1)
    await node.parts.sweep.once()
    assert await commit(node, "k") == (201, job_id, True)
    node.clock.advance(1)
    status, other, replayed = await commit(node, "k", payload=SUMMARIZE | {"input": "Another."})
    assert (status, replayed) == (201, False)
    assert other != job_id
    # From here on, the key stands for the newer job, for another day.
    node.clock.advance(DAY_SECONDS - 1)
    await node.parts.sweep.once()
    assert (await commit(node, "k", payload=SUMMARIZE | {"input": "Another."}))[1:] == (other, True)


async def test_a_key_outlives_the_process(tmp_path: Path, clock: FakeClock) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running_node(database, clock) as node:
        _, job_id, _ = await commit(node, "k")
        node.crash()
    async with running_node(database, clock) as node:
        assert await commit(node, "k") == (201, job_id, True)
        assert (await commit(node, "k", "fast"))[0] == 409


async def test_fifty_equal_requests_at_one_instant_make_one_job(node: Node) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        headers = {"Idempotency-Key": "k"}
        offers = [offer(http, node.url, order(), headers=headers) for _ in range(50)]
        answers = await asyncio.gather(*offers)
    assert {status for status, _, _ in answers} == {201}
    assert len({answer["job_id"] for _, answer, _ in answers}) == 1
    assert sum(REPLAY not in headers for _, _, headers in answers) == 1
    async with autopilot(node.http, node.url) as pilot:
        await node.until(answers[0][1]["job_id"], "completed")
        await node.until(await node.commit(SUMMARIZE), "completed")
    assert len(pilot.assigned) == 2


async def test_fifty_equal_requests_take_one_place_in_the_queue(
    tmp_path: Path, clock: FakeClock
) -> None:
    limits = Limits(queue_jobs_max=2)
    async with running_node(tmp_path / "jobs.sqlite3", clock, limits) as node:
        await node.parts.sweep.once()
        await node.commit(SUMMARIZE)
        answers = await asyncio.gather(*(commit(node, "k") for _ in range(50)))
        assert {status for status, _, _ in answers} == {201}
        assert len({job_id for _, job_id, _ in answers}) == 1


async def test_many_bodies_under_one_key_at_one_instant_make_one_job(node: Node) -> None:
    bodies = [SUMMARIZE | {"input": f"Text {n}."} for n in range(30)]
    answers = await asyncio.gather(*(commit(node, "k", payload=body) for body in bodies))
    assert sorted(status for status, _, _ in answers) == [201] + [409] * 29


async def test_a_replay_is_answered_when_the_queue_is_full(
    tmp_path: Path, clock: FakeClock
) -> None:
    limits = Limits(queue_jobs_max=2, open_jobs_per_user_max=2)
    async with running_node(tmp_path / "jobs.sqlite3", clock, limits) as node:
        async with connected(node) as worker:
            await worker.register()
        _, job_id, _ = await commit(node, "k")
        await commit(node, "l")
        assert (await commit(node, "m"))[0] == 429
        assert await commit(node, "k") == (201, job_id, True)
        assert (await commit(node, "k", "fast"))[0] == 409
        await node.pass_time(31)
        # What was refused with 429 was not recorded: the key is free.
        assert (await commit(node, "m"))[::2] == (201, False)


async def test_a_replay_is_answered_while_the_node_stops(node: Node) -> None:
    _, job_id, _ = await commit(node, "k")
    parts = node.parts
    edge = Edge(
        *(parts.coordinator, parts.admission, parts.work, parts.chain),
        *(MONAD, node.clock, Limits()),
    )
    await parts.drain(edge, 0)
    assert (await commit(node, "new"))[0] == 503
    assert await commit(node, "k") == (201, job_id, True)


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "tab\there"])
async def test_a_key_that_is_none(node: Node, key: str) -> None:
    assert (await commit(node, key))[0] == 400


async def test_two_keys_at_once(node: Node) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    url = f"{node.url}/v1/jobs/commit/cheap"
    async with node.http.post(url, json=order(), headers=headers) as reply:
        assert reply.status == 400
        assert "Idempotency-Key" in (await reply.json())["error"]


async def test_an_invalid_body_records_nothing(node: Node) -> None:
    assert (await commit(node, "k", payload={"job_type": "TASK"}))[0] == 400
    assert (await commit(node, "k"))[::2] == (201, False)


async def test_without_a_key_every_commit_is_a_job_of_its_own(node: Node) -> None:
    assert len({await node.commit(SUMMARIZE) for _ in range(5)}) == 5
