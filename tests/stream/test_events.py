"""A job's life as server-sent events, and cancelling, from a worker over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dispatchd.core.job import JobType
from tests.support.events import events, read_all
from tests.support.executors import Scripted
from tests.support.foreign import foreign_worker
from tests.support.node import Node
from tests.support.ours import our_worker

PROMPT = {"job_type": "LLM_INFER", "prompt": "Hello"}
SUMMARIZE = {"job_type": "TASK", "task_type": "summarize", "input": "A text."}
PATIENCE_SECONDS = 10


def stream(node: Node, job_id: str, **headers: str) -> Any:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    return node.http.get(f"{node.url}/v1/jobs/{job_id}/events", headers=headers, timeout=timeout)


async def next_delta(reader: AsyncIterator[tuple[str, Any, str]]) -> tuple[str, str]:
    async for name, data, number in reader:
        if name == "delta":
            return data["delta"], number
    raise AssertionError("the stream has ended")


async def test_watchers_early_late_and_after_the_end_read_the_same(node: Node) -> None:
    llm = Scripted()
    async with our_worker(node.url, {JobType.LLM_INFER: llm}):
        job_id = await node.commit(PROMPT)
        async with stream(node, job_id) as early:
            assert early.content_type == "text/event-stream"
            reader = events(early)
            llm.pieces.put_nowait("Hé")
            assert (await next_delta(reader))[0] == "Hé"
            llm.pieces.put_nowait("llo\u2028 ")
            assert (await next_delta(reader))[0] == "llo\u2028 "
            async with stream(node, job_id) as late:
                first = await anext(events(late))
                assert first[:2] == ("delta", {"delta": "Héllo\u2028 "})
                llm.pieces.put_nowait("world")
                llm.pieces.put_nowait({"text": "Héllo\u2028 world"})
                rest = [event async for event in reader]
            assert "".join(d["delta"] for n, d, _ in rest if n == "delta") == "world"
            assert rest[-1][0] == "done"
            assert rest[-1][1] == await node.job(job_id)
        async with stream(node, job_id) as after:
            told = await read_all(after)
        assert [name for name, _, _ in told] == ["delta", "done"]
        assert told[0][1] == {"delta": "Héllo\u2028 world"}


async def test_a_watcher_that_comes_back_reads_on_where_it_was(node: Node) -> None:
    llm = Scripted()
    async with our_worker(node.url, {JobType.LLM_INFER: llm}):
        job_id = await node.commit(PROMPT)
        llm.pieces.put_nowait("one ")
        async with stream(node, job_id) as reply:
            _, number = await next_delta(events(reply))
        llm.pieces.put_nowait("two")
        llm.pieces.put_nowait({"text": "one two"})
        await node.until(job_id, "completed")
        async with stream(node, job_id, **{"Last-Event-ID": number}) as again:
            told = await read_all(again)
        assert [data for name, data, _ in told if name == "delta"] == [{"delta": "two"}]


async def test_states_are_told_as_they_come_and_text_of_a_lost_attempt_is_void(node: Node) -> None:
    job_id = await node.commit(PROMPT)
    async with stream(node, job_id) as reply:
        reader = events(reply)
        assert (await anext(reader))[1] == {"status": "pending"}
        async with foreign_worker(node.http, node.url) as lost:
            await lost.register("LLM_INFER", version="x")
            assert (await anext(reader))[1] == {"status": "assigned"}
            await lost.send(type="job_progress", job_id=job_id, delta="false start")
            assert (await anext(reader))[1] == {"status": "running"}
            assert (await anext(reader))[1] == {"delta": "false start"}
        assert (await anext(reader))[1] == {"status": "pending"}
        llm = Scripted()
        async with our_worker(node.url, {JobType.LLM_INFER: llm}):
            llm.pieces.put_nowait("right")
            llm.pieces.put_nowait({"text": "right"})
            rest = [event async for event in reader]
    assert [data for name, data, _ in rest if name == "delta"] == [{"delta": "right"}]
    assert rest[-1][1]["status"] == "completed"


async def test_an_unknown_job_has_no_events(node: Node) -> None:
    async with stream(node, "00000000-0000-4000-8000-000000000000") as reply:
        assert reply.status == 404


async def delete(node: Node, job_id: str) -> tuple[int, dict[str, Any]]:
    async with node.http.delete(f"{node.url}/v1/jobs/{job_id}") as reply:
        return reply.status, await reply.json()


async def test_cancelling_a_running_job_stops_its_worker_and_frees_its_place(node: Node) -> None:
    llm = Scripted()
    async with our_worker(node.url, {JobType.LLM_INFER: llm}):
        job_id = await node.commit(PROMPT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await llm.started.wait()  # nothing has been said yet: as amid a long prompt
        async with stream(node, job_id) as reply:
            status, body = await delete(node, job_id)
            told = await read_all(reply)
        assert (status, body["status"], body["result"]) == (200, "failed", {"error": "cancelled"})
        assert told[-1][:2] == ("done", body)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await llm.stopped.wait()
        following = await node.commit(PROMPT)
        llm.pieces.put_nowait({"text": "x"})
        await node.until(following, "completed")


async def test_cancelling_a_waiting_job_and_cancelling_again(node: Node) -> None:
    job_id = await node.commit(SUMMARIZE)
    for _ in range(2):
        assert (await delete(node, job_id))[1]["result"] == {"error": "cancelled"}
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register()
        other = await node.commit(SUMMARIZE)
        assert (await worker.expect("job_assign"))["job_id"] == other
        await worker.complete(other)
        await node.until(other, "completed")
    status, body = await delete(node, other)
    assert (status, body["error"]) == (409, "The job has completed already")


async def test_a_worker_of_part_1_is_left_alone_until_it_answers(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register()
        job_id = await node.commit(SUMMARIZE)
        await worker.expect("job_assign")
        await delete(node, job_id)
        assert (await worker.expect("job_cancel"))["job_id"] == job_id
        following = await node.commit(SUMMARIZE)
        await worker.complete(job_id)
        assert (await worker.expect("error"))["code"] == "LEASE_LOST"
        assert (await worker.expect("job_assign"))["job_id"] == following
        assert (await node.job(job_id))["result"] == {"error": "cancelled"}


async def explained(node: Node, job_id: str) -> dict[str, Any]:
    async with node.http.get(f"{node.url}/v1/jobs/{job_id}/explain") as reply:
        return dict(await reply.json())


async def test_explaining_why_a_job_waits(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        waits = await node.commit(PROMPT)
        told = await explained(node, waits)
        assert (told["status"], told["verdict"]) == ("pending", "cannot run now")
        assert told["workers"] == [{"provider_pubkey": worker.pubkey, "excluded_by": "not_capable"}]
        taken = await node.commit(SUMMARIZE)
        await worker.expect("job_assign")
        behind = await node.commit(SUMMARIZE)
        assert (await explained(node, behind))["workers"][0]["excluded_by"] == "busy"
        assert (await explained(node, taken))["verdict"] == "will run"


async def test_lists_are_paged_newest_first_and_hold_nothing_private(node: Node) -> None:
    jobs = [await node.commit(SUMMARIZE) for _ in range(5)]
    await node.commit(SUMMARIZE, user_id="somebody else")
    seen: list[str] = []
    after = ""
    while True:
        url = f"{node.url}/v1/jobs?user_id=user_abc123&limit=2{after}"
        async with node.http.get(url) as reply:
            page = await reply.json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == jobs[::-1]
    async with node.http.get(f"{node.url}/v1/jobs?status=completed") as reply:
        assert (await reply.json())["jobs"] == []


@pytest.mark.parametrize("limit", ["", "0", "501", "-1", "x", "1.5"])
async def test_a_page_of_no_length_is_refused_by_name(node: Node, limit: str) -> None:
    async with node.http.get(f"{node.url}/v1/jobs?limit={limit}") as reply:
        assert reply.status == 400
        assert "limit" in (await reply.json())["error"]


async def test_a_job_with_our_fields_goes_only_to_workers_that_know_them(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("LLM_INFER")
        extended = await node.commit(PROMPT | {"temperature": 0.5})
        plain = await node.commit(PROMPT)
        assert (await worker.expect("job_assign"))["job_id"] == plain
        llm = Scripted()
        async with our_worker(node.url, {JobType.LLM_INFER: llm}):
            llm.pieces.put_nowait({"text": "x"})
            await node.until(extended, "completed")
        named = await node.commit(PROMPT | {"model": "another"})
        for _ in range(3):
            await worker.send(type="heartbeat")
            await worker.expect("heartbeat_ack")
            await node.pass_time(10)
        assert (await node.job(named))["result"] == {"error": "no_eligible_worker"}
