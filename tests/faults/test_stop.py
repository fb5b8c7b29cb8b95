"""Stopping: running jobs get their time, the others are put back, and everybody is told."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.crowd import (
    PROMPT,
    all_completed,
    autopilot,
    health,
    job,
    offer,
    order,
)
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import Node
from tests.support.process import STOP_SECONDS, Process, dispatchd
from tests.support.raw import frame, raw

pytestmark = pytest.mark.long

LONG_PROMPT = PROMPT | {"prompt": "What is a blockchain?", "max_tokens": 400}
# For our workers alone: it goes on to its limit.
ENDLESS_PROMPT = LONG_PROMPT | {"ignore_eos": True}


class Machine:
    """The same coordinator again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def running(self, *more: str) -> Iterator[Process]:
        place = ("--port", "0", "--data-dir", str(self._folder / "node"))
        with dispatchd("run", "--testnet", *place, *more, home=self._folder / "home") as process:
            yield process

    @asynccontextmanager
    async def node(self, *more: str) -> AsyncIterator[tuple[Process, aiohttp.ClientSession, str]]:
        with self.running("--no-worker", *more) as process:
            url = await asyncio.to_thread(process.url)
            async with aiohttp.ClientSession() as http:
                yield process, http, url
            assert "Traceback" not in process.err.text, process.err.text
            assert " ERROR " not in process.err.text, process.err.text


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def exit_code(process: Process, seconds: float = STOP_SECONDS) -> int:
    return await asyncio.to_thread(process.popen.wait, seconds)


async def busy(http: aiohttp.ClientSession, url: str, worker: ForeignWorker) -> str:
    """Registers the worker and gives it a job."""
    await worker.register()
    status, answer, _ = await offer(http, url, order())
    assert status == 201
    assert (await worker.expect("job_assign"))["job_id"] == answer["job_id"]
    return str(answer["job_id"])


async def told(worker: ForeignWorker) -> None:
    """The worker hears that the node stops."""
    assert (await worker.expect("error"))["code"] == "SHUTTING_DOWN"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_job_finishes_and_nothing_new_is_taken(
    machine: Machine, number: signal.Signals
) -> None:
    async with machine.node("--grace", "30") as (process, http, url):
        async with foreign_worker(http, url) as worker, foreign_worker(http, url) as idle:
            await idle.register("LLM_INFER")
            running = await busy(http, url, worker)
            _, answer, _ = await offer(http, url, order())
            waiting = answer["job_id"]
            process.popen.send_signal(number)
            await told(worker)
            await told(idle)
            await refused(http, url)
            found = await health(http, url)
            assert found["status"] == "degraded"
            assert "shutting down" in found["problems"][0]
            assert (await job(http, url, waiting))["status"] == "pending"
            await worker.complete(running)
            assert await worker.closed() == 1001
            assert await idle.closed() == 1001
        assert await exit_code(process) == 0
    async with machine.node() as (_, http, url):
        done = await job(http, url, running)
        assert (done["status"], done["receipt"]["verified"]) == ("completed", True)
        async with autopilot(http, url) as pilot:
            await all_completed(http, url, [waiting])
            assert pilot.assigned == [waiting]


async def refused(http: aiohttp.ClientSession, url: str) -> None:
    for tier in ("fast", "cheap"):
        status, answer, headers = await offer(http, url, order(), tier)
        assert (status, answer["code"]) == (503, "stopping")
        assert int(headers["Retry-After"]) >= 1


async def test_what_does_not_finish_in_time_is_put_back_and_has_not_failed(
    machine: Machine,
) -> None:
    """Twice, where one fault would be the end of it."""
    once = ("--limit", "faults_max=1")
    jobs: list[str] = []
    for stops in range(2):
        async with machine.node("--grace", "0.3", *once) as (process, http, url):
            async with foreign_worker(http, url) as worker:
                if stops == 0:
                    jobs.append(await busy(http, url, worker))
                else:
                    await worker.register()
                    assert (await worker.expect("job_assign"))["job_id"] == jobs[0]
                process.popen.send_signal(signal.SIGTERM)
                await told(worker)
                while True:  # a job_cancel may come before the end
                    message = await worker.socket.receive()
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        break
                assert worker.socket.close_code == 1001
            assert await exit_code(process) == 0
    async with machine.node(*once) as (_, http, url):
        assert (await job(http, url, jobs[0]))["status"] == "pending"
        async with autopilot(http, url) as pilot:
            await all_completed(http, url, jobs)
            assert pilot.assigned == jobs
            async with http.get(f"{url}/v1/workers") as reply:
                (shown,) = (await reply.json())["workers"]
            assert shown["record"]["lost"] == 0


async def test_a_second_signal_exits_at_once_and_loses_nothing(machine: Machine) -> None:
    limits = ("--limit", "lease_seconds=1", "--limit", "sweep_seconds=0.2")
    async with (
        machine.node("--grace", "60", *limits) as (process, http, url),
        foreign_worker(http, url) as worker,
    ):
        jobs = [await busy(http, url, worker)]
        for _ in range(20):
            status, answer, _ = await offer(http, url, order())
            assert status == 201
            jobs.append(answer["job_id"])
        process.popen.send_signal(signal.SIGTERM)
        await told(worker)
        start = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        assert await exit_code(process) == 128 + signal.SIGTERM
        assert time.monotonic() - start < 1
    async with machine.node(*limits) as (_, http, url), autopilot(http, url) as pilot:
        await all_completed(http, url, jobs)
        assert sorted(pilot.assigned) == sorted(jobs)


async def test_who_waits_for_a_job_is_answered_when_the_node_stops(machine: Machine) -> None:
    async with machine.node("--grace", "0.3") as (process, http, url):
        _, answer, _ = await offer(http, url, order())
        async with raw(url) as client:
            path = f"/v1/jobs/{answer['job_id']}?wait=60"
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await health(http, url)
            process.popen.send_signal(signal.SIGTERM)
            status, found = await client.reply()
            assert (status, found["status"]) == (200, "pending")
        assert await exit_code(process) == 0


async def test_half_requests_and_open_connections_hold_up_nobody(machine: Machine) -> None:
    async with (
        machine.node("--grace", "0.3") as (process, http, url),
        raw(url),
        raw(url) as head,
        raw(url) as body,
        raw(url) as socket,
    ):
        await head.send(b"GET /v1/hea")
        await body.send(
            b"POST /v1/jobs/commit/fast HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        await socket.upgrade()
        await health(http, url)
        process.popen.send_signal(signal.SIGTERM)
        assert await exit_code(process) == 0


async def test_a_worker_that_never_reads_does_not_hold_up_the_end(machine: Machine) -> None:
    many = ("--limit", "frames_per_second_max=1000000000")
    async with (
        machine.node("--grace", "0.3", *many) as (process, http, url),
        raw(url, receive_bytes=4096) as deaf,
        foreign_worker(http, url) as worker,
    ):
        await deaf.upgrade()
        deaf.writer.write(frame(b"garbage") * 2_000_000)
        await worker.register()
        await stuck(deaf.writer)
        process.popen.send_signal(signal.SIGTERM)
        await told(worker)
        assert await exit_code(process) == 0


async def stuck(writer: asyncio.StreamWriter) -> None:
    """Waits until the node takes nothing more from this connection."""
    before = -1
    async with asyncio.timeout(20):
        while (waiting := writer.transport.get_write_buffer_size()) != before:
            before = waiting
            await asyncio.sleep(0.5)
    assert before > 0


async def test_a_node_finishes_its_own_running_job(machine: Machine) -> None:
    with machine.running("--slots", "1") as process:
        url = await asyncio.to_thread(process.url)
        async with aiohttp.ClientSession() as http:
            jobs = [(await offer(http, url, order(ENDLESS_PROMPT)))[1]["job_id"] for _ in range(3)]
            async with asyncio.timeout(20):
                while (await job(http, url, jobs[0]))["status"] != "running":
                    await asyncio.sleep(0.005)
            process.popen.send_signal(signal.SIGTERM)
            assert await exit_code(process, 20) == 0
        assert "Traceback" not in process.err.text, process.err.text
    async with machine.node() as (_, http, url):
        found = [await job(http, url, job_id) for job_id in jobs]
        assert [one["status"] for one in found] == ["completed", "pending", "pending"]


# `dispatchd worker`


@contextmanager
def worker_process(folder: Path, url: str, *more: str) -> Iterator[Process]:
    arguments = ("worker", "--coordinator", url, "--data-dir", str(folder / "worker"), *more)
    with dispatchd(*arguments, home=folder / "home") as process:
        yield process


async def commit_long(node: Node, count: int) -> list[str]:
    return [await node.commit(LONG_PROMPT) for _ in range(count)]


async def test_a_worker_that_is_stopped_finishes_its_running_job(
    node: Node, tmp_path: Path
) -> None:
    jobs = [await node.commit(ENDLESS_PROMPT) for _ in range(3)]
    one = ("--capability", "llm", "--slots", "1")
    with worker_process(tmp_path, node.url, *one) as process:
        await node.until(jobs[0], "running")
        process.popen.send_signal(signal.SIGTERM)
        assert await exit_code(process, 20) == 0
        assert "Traceback" not in process.err.text
    done = await node.until(jobs[0], "completed")
    assert done["receipt"]["verified"] is True
    await workers_gone(node)
    # The others were turned down, or never sent: they wait for another worker.
    assert {(await node.job(job_id))["status"] for job_id in jobs[1:]} <= {"pending", "completed"}
    assert (await node.job(jobs[2]))["status"] == "pending"


async def test_a_worker_without_grace_leaves_its_job_to_others(node: Node, tmp_path: Path) -> None:
    (job_id,) = await commit_long(node, 1)
    with worker_process(tmp_path, node.url, "--capability", "llm", "--grace", "0") as process:
        await node.until(job_id, "running")
        process.popen.send_signal(signal.SIGTERM)
        assert await exit_code(process) == 0
    await node.until(job_id, "pending")
    async with autopilot(node.http, node.url):
        await node.until(job_id, "completed")


async def test_a_second_signal_ends_a_worker_at_once(node: Node, tmp_path: Path) -> None:
    (job_id,) = await commit_long(node, 1)
    with worker_process(tmp_path, node.url, "--capability", "llm") as process:
        await node.until(job_id, "running")
        process.popen.send_signal(signal.SIGTERM)
        process.popen.send_signal(signal.SIGINT)
        assert await exit_code(process, 3) in {128 + signal.SIGINT, 128 + signal.SIGTERM}
    await node.until(job_id, "pending")
    async with autopilot(node.http, node.url):
        await node.until(job_id, "completed")


async def workers_gone(node: Node) -> None:
    async with asyncio.timeout(10):
        while (await health(node.http, node.url))["workers_online"]:
            await asyncio.sleep(0.01)
