"""Our own worker at our own coordinator, over a real socket."""

import asyncio
import base64
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from nacl.signing import VerifyKey

from dispatchd.core.clock import SystemClock
from dispatchd.core.errors import ExecutionFailed
from dispatchd.core.job import JobType
from dispatchd.core.keys import KeyPair
from dispatchd.worker.remote import HEARTBEAT_SECONDS
from tests.support.clock import FakeClock
from tests.support.executors import Gated, Instant
from tests.support.foreign import foreign_worker
from tests.support.node import Node, running_node
from tests.support.ours import our_worker

SUMMARIZE = {"job_type": "TASK", "task_type": "summarize", "input": "A text."}
PROMPT = {"job_type": "LLM_INFER", "prompt": "Hello"}
PATIENCE_SECONDS = 10


async def test_a_job_goes_there_and_comes_back(node: Node) -> None:
    task = Gated({"summary": "é", "word_count": 1.0})
    async with our_worker(node.url, {JobType.TASK: task}) as key:
        job_id = await node.commit(SUMMARIZE)
        await node.until(job_id, "running")
        task.go.set()
        done = await node.until(job_id, "completed")
    assert done["receipt"]["provider_pubkey"] == key.public_hex
    async with node.http.get(f"{node.url}/v1/jobs/{job_id}") as reply:
        assert '"result":{"summary":"é","word_count":1},' in await reply.text()


async def test_short_jobs_do_not_wait_behind_long_ones(node: Node) -> None:
    llm, task = Gated({"text": "x"}), Gated()
    task.go.set()
    async with our_worker(node.url, {JobType.LLM_INFER: llm, JobType.TASK: task}):
        long = await node.commit(PROMPT)
        await node.until(long, "running")
        await node.until(await node.commit(SUMMARIZE), "completed")
        assert (await node.job(long))["status"] == "running"


async def test_a_run_that_takes_too_long_is_stopped_and_tried_again(node: Node) -> None:
    task = Gated()
    async with our_worker(node.url, {JobType.TASK: task}, clock=node.clock):
        job_id = await node.commit(SUMMARIZE)
        for _ in range(3):
            await node.until(job_id, "running")
            for _ in range(6):
                await node.pass_time(10)
                await beat(node)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await task.stopped.wait()
            task.stopped.clear()
        assert (await node.until(job_id, "failed"))["result"] == {"error": "timeout"}


async def beat(node: Node) -> None:
    """Lets the worker's heartbeat, which the moved clock has set off, arrive."""
    before = node.clock.now()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(seat.heard_at < before for seat in node.parts.seats):
            await asyncio.sleep(0.002)


async def test_an_executor_that_gives_up_fails_the_job_at_once(node: Node) -> None:
    task = Gated(ExecutionFailed("prompt_too_long", final=True))
    task.go.set()
    async with our_worker(node.url, {JobType.TASK: task}):
        job_id = await node.commit(SUMMARIZE)
        assert (await node.until(job_id, "failed"))["result"] == {"error": "prompt_too_long"}
        assert len(task.payloads) == 1


async def test_an_executor_that_breaks_is_a_failed_attempt(node: Node) -> None:
    task = Gated(RuntimeError("bug"))
    task.go.set()
    async with our_worker(node.url, {JobType.TASK: task}):
        job_id = await node.commit(SUMMARIZE)
        for attempt in (1, 2):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(task.payloads) < attempt:
                    await asyncio.sleep(0.002)
            await node.until(job_id, "pending")
            await node.pass_time(5)
        assert (await node.until(job_id, "failed"))["result"] == {"error": "internal_error"}


async def test_a_worker_keeps_its_job_through_a_restart_of_the_coordinator(
    tmp_path: Path, clock: FakeClock
) -> None:
    task = Gated()
    async with running_node(tmp_path / "jobs.sqlite3", clock) as node:
        port = int(node.url.rpartition(":")[2])
        worker = our_worker(node.url, {JobType.TASK: task})
        await worker.__aenter__()
        job_id = await node.commit(SUMMARIZE)
        await node.until(job_id, "running")
        node.crash()
    async with running_node(tmp_path / "jobs.sqlite3", clock, port=port) as node:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not len(node.parts.seats):
                await asyncio.sleep(0.005)
        task.go.set()
        await node.until(job_id, "completed")
        await worker.__aexit__(None, None, None)
    assert len(task.payloads) == 1


@pytest.mark.parametrize("challenge", [None, "", "AB" * 32, "ab" * 31 + "\n\n", "ab" * 32])
async def test_a_challenge_is_answered_and_nothing_else_is_signed(challenge: str | None) -> None:
    """At a coordinator of somebody else, who may never have heard of challenges."""
    frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    hosts = []

    async def coordinate(request: web.Request) -> web.WebSocketResponse:
        hosts.append(request.headers["Host"])
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            frame = message.json()
            frames.put_nowait(frame)
            if frame["type"] == "register":
                extra = {} if challenge is None else {"challenge": challenge}
                ack = {"type": "register_ack", "status": "ok", "worker_id": "w"}
                await socket.send_json(ack | extra)
                await socket.send_json(
                    {"type": "job_assign", "job_id": "j", "job_type": "TASK", "payload": {}}
                )
        return socket

    app = web.Application()
    app.router.add_get("/", coordinate)
    async with TestServer(app) as server:
        host = server.make_url("/").authority
        task = Instant({"summary": "x", "word_count": 1})
        async with our_worker(str(server.make_url("/")), {JobType.TASK: task}) as key:
            async with asyncio.timeout(PATIENCE_SECONDS):
                sent = [await frames.get()]
                while sent[-1]["type"] != "job_complete":
                    sent.append(await frames.get())
    proofs = [frame["signature"] for frame in sent if frame["type"] == "prove"]
    assert [frame["type"] for frame in sent][:1] == ["register"]
    if challenge == "ab" * 32:
        assert hosts == [host]
        text = f"dispatchd worker proof v1\nw\n{challenge}\n{hosts[0]}"
        (signature,) = proofs
        key_of_worker = VerifyKey(bytes.fromhex(key.public_hex))
        key_of_worker.verify(text.encode(), base64.b64decode(signature))
    else:
        assert proofs == []


class Pauses(SystemClock):
    """A clock on which a worker's pauses take no time, and its heartbeats never come."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.four = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds == HEARTBEAT_SECONDS:
            await asyncio.Event().wait()
        self.seconds.append(seconds)
        if len(self.seconds) == 4:
            self.four.set()
            await asyncio.Event().wait()


async def test_a_worker_that_is_turned_away_after_its_proof_comes_again_ever_later() -> None:
    """Unless the coordinator has begun to work with it, as on the second connection here."""
    connections = 0

    async def coordinate(request: web.Request) -> web.WebSocketResponse:
        nonlocal connections
        connections += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive_json()
        ack = {"type": "register_ack", "status": "ok", "worker_id": "w", "challenge": "ab" * 32}
        await socket.send_json(ack)
        await socket.receive_json()
        if connections == 2:
            await socket.send_json({"type": "heartbeat_ack", "status": "ok"})
        await socket.send_json({"type": "error", "code": "BAD_PROOF", "message": "no"})
        await socket.close()
        return socket

    app, clock = web.Application(), Pauses()
    app.router.add_get("/", coordinate)
    async with (
        TestServer(app) as server,
        our_worker(str(server.make_url("/")), {JobType.TASK: Instant({})}, clock=clock),
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await clock.four.wait()
    bounds = zip(clock.seconds, (0.5, 0.5, 1, 2), strict=True)
    assert all(0.8 * pause <= seconds <= 1.2 * pause for seconds, pause in bounds)


async def test_a_worker_whose_key_sits_elsewhere_now_is_told(node: Node) -> None:
    task = Gated()
    async with our_worker(node.url, {JobType.TASK: task}) as key:
        job_id = await node.commit(SUMMARIZE)
        await node.until(job_id, "running")
        async with foreign_worker(node.http, node.url, key._signing) as elsewhere:
            await elsewhere.prove(await elsewhere.register(version="0"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await task.stopped.wait()


async def test_of_two_processes_with_one_key_the_displaced_one_stays_away_for_longer_each_time(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    key = KeyPair.generate()
    clocks = FakeClock(), FakeClock()

    async def gives_way(seconds: int, times: int) -> None:
        said = f"another process works under our key.*next try in {seconds} s"
        async with asyncio.timeout(10):
            while len(re.findall(said, caplog.text)) < times:
                await asyncio.sleep(0.005)

    async with AsyncExitStack() as workers:
        for clock in clocks:
            worker = our_worker(
                node.url,
                {JobType.TASK: Instant({"summary": "x", "word_count": 1})},
                key=key,
                clock=clock,
            )
            await workers.enter_async_context(worker)
            async with asyncio.timeout(10):
                while not [seat for seat in node.parts.seats if seat.proven]:
                    await asyncio.sleep(0.005)
        await gives_way(60, times=1)
        clocks[0].advance(75)
        await gives_way(60, times=2)
        clocks[1].advance(75)
        await gives_way(120, times=1)
        job_id = await node.commit(SUMMARIZE)
        assert (await node.until(job_id, "completed"))["status"] == "completed"
        clocks[0].advance(7200)
        await gives_way(120, times=2)
        clocks[1].advance(7200)
        await gives_way(60, times=3)  # the former times were so long ago that they do not count
