"""The disk: full, read-only, locked or of a newer version. The node says so, and loses nothing."""

import asyncio
import gc
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dispatchd.core.errors import StoreUnavailable
from dispatchd.store.sqlite.connection import Connection
from tests.support.clock import FakeClock
from tests.support.crowd import (
    SUMMARIZE,
    all_completed,
    autopilot,
    connected,
    health,
    job,
    offer,
    order,
)
from tests.support.disk import NEWER_VERSION, locked, newer_version
from tests.support.foreign import ForeignWorker
from tests.support.node import Node, running_node
from tests.support.process import Process, dispatchd

pytestmark = pytest.mark.long

HEALTH_SECONDS = 1.0
DISK_BYTES = 8 * 1024 * 1024
FILLER_BYTES = DISK_BYTES * 7 // 8


@asynccontextmanager
async def running(
    database: Path, home: Path, look_seconds: float = 0.5
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A node of its own process, which looks at its disk so often."""
    with process_on(database, home, look_seconds) as process:
        url = await asyncio.to_thread(process.url)
        async with aiohttp.ClientSession() as http:
            yield http, url
        assert "Traceback" not in process.err.text, process.err.text


@contextmanager
def process_on(database: Path, home: Path, look_seconds: float = 0.5) -> Iterator[Process]:
    limits = ("--limit", f"renew_seconds={look_seconds}", "--limit", "sweep_seconds=0.1")
    place = ("--port", "0", "--db", str(database))
    with dispatchd("run", "--testnet", "--no-worker", *place, *limits, home=home) as process:
        yield process


async def prompt_health(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with asyncio.timeout(HEALTH_SECONDS):
        return await health(http, url)


async def status_becomes(http: aiohttp.ClientSession, url: str, status: str) -> dict[str, Any]:
    """Waits until the node says so of itself; each answer must come promptly."""
    async with asyncio.timeout(15):
        while (found := await prompt_health(http, url))["status"] != status:
            await asyncio.sleep(0.02)
    assert ("problems" in found) == (status == "degraded")
    return found


def assert_unavailable(answer: tuple[int, dict[str, Any], dict[str, str]]) -> None:
    status, body, headers = answer
    assert (status, body["code"]) == (503, "store_unavailable")
    assert int(headers["Retry-After"]) >= 1


async def test_a_database_locked_by_another_program(tmp_path: Path) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running(database, tmp_path / "home", 3) as (http, url):
        _, before, _ = await offer(http, url, order())
        async with autopilot(http, url):
            await all_completed(http, url, [before["job_id"]])
            with locked(database):
                offers = [asyncio.create_task(offer(http, url, order())) for _ in range(1)]
                while not all(task.done() for task in offers):
                    await prompt_health(http, url)
                    assert (await job(http, url, before["job_id"]))["status"] == "completed"
                    await asyncio.sleep(0.05)
                for task in offers:
                    assert_unavailable(await task)
                found = await status_becomes(http, url, "degraded")
                assert "locked" in found["problems"][0]
            await status_becomes(http, url, "ok")
            status, after, _ = await offer(http, url, order())
            assert status == 201
            await all_completed(http, url, [after["job_id"]])


async def test_a_database_locked_for_a_moment_delays_and_refuses_nothing(tmp_path: Path) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running(database, tmp_path / "home") as (http, url), autopilot(http, url):
        with locked(database):
            offers = [asyncio.create_task(offer(http, url, order())) for _ in range(3)]
            start = time.monotonic()
            while time.monotonic() - start < 1:
                assert (await prompt_health(http, url))["status"] == "ok"
                assert not any(task.done() for task in offers)
                await asyncio.sleep(0.05)
        answers = [await task for task in offers]
        assert [status for status, _, _ in answers] == [201] * 3
        await all_completed(http, url, [answer["job_id"] for _, answer, _ in answers])


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, with little room."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("needs program: mount")
    size = ("-o", f"size={DISK_BYTES}")
    mounted = subprocess.run([mount, "-t", "tmpfs", *size, "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def fill(http: aiohttp.ClientSession, url: str, accepted: list[str]) -> None:
    """Commits until there is no room."""
    body = order(SUMMARIZE | {"input": "word " * 4000})
    while (answer := await offer(http, url, body))[0] == 201:
        accepted.append(answer[1]["job_id"])
        assert len(accepted) < 1000
    assert_unavailable(answer)


async def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        database, filler = disk / "jobs.sqlite3", disk / "filler"
        async with running(database, tmp_path / "home") as (http, url):
            filler.write_bytes(b"x" * (FILLER_BYTES))
            accepted: list[str] = []
            await fill(http, url, accepted)
            found = await status_becomes(http, url, "degraded")
            assert "full" in found["problems"][0]
            for job_id in accepted:
                assert (await job(http, url, job_id))["status"] == "pending"
            filler.unlink()
            await status_becomes(http, url, "ok")
            async with autopilot(http, url):
                await all_completed(http, url, accepted)
                status, answer, _ = await offer(http, url, order())
                assert status == 201
                await all_completed(http, url, [answer["job_id"]])


async def test_results_that_come_while_the_disk_is_full_are_kept_and_stored_later(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        database, filler = disk / "jobs.sqlite3", disk / "filler"
        async with running(database, tmp_path / "home") as (http, url):
            accepted: list[str] = []
            filler.write_bytes(b"x" * (FILLER_BYTES))
            await fill(http, url, accepted)
            async with autopilot(http, url, max_concurrent_jobs=4) as pilot:
                await prompt_health(http, url)
                filler.unlink()
                await all_completed(http, url, accepted)
            assert pilot.errors == []


async def test_a_process_killed_on_a_full_disk_has_what_it_acknowledged(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        database, filler = disk / "jobs.sqlite3", disk / "filler"
        accepted: list[str] = []
        with process_on(database, tmp_path / "home") as process:
            url = await asyncio.to_thread(process.url)
            filler.write_bytes(b"x" * (FILLER_BYTES))
            async with aiohttp.ClientSession() as http:
                await fill(http, url, accepted)
                process.popen.kill()
                process.popen.wait()
        filler.unlink()
        async with running(database, tmp_path / "home") as (http, url), autopilot(http, url):
            await all_completed(http, url, accepted)


async def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """As with a quota: writing fails, and works again later."""
    database = tmp_path / "jobs.sqlite3"
    with process_on(database, tmp_path / "home") as process:
        url = await asyncio.to_thread(process.url)
        pid, unlimited = process.popen.pid, resource.RLIM_INFINITY
        async with aiohttp.ClientSession() as http:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (300_000, unlimited))
            accepted: list[str] = []
            await fill(http, url, accepted)
            await status_becomes(http, url, "degraded")
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
            await status_becomes(http, url, "ok")
            async with autopilot(http, url):
                await all_completed(http, url, accepted)
        assert process.stop() == 0


async def test_a_database_that_a_newer_version_has_changed_meanwhile(tmp_path: Path) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running(database, tmp_path / "home") as (http, url):
        await offer(http, url, order())
        with newer_version(database):
            assert_unavailable(await offer(http, url, order()))
            found = await status_becomes(http, url, "degraded")
            assert str(NEWER_VERSION) in found["problems"][0]
        await status_becomes(http, url, "ok")
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


async def test_health_notices_by_itself_and_not_only_by_a_commit(tmp_path: Path) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running(database, tmp_path / "home") as (http, url):
        with newer_version(database):
            await status_becomes(http, url, "degraded")
        await status_becomes(http, url, "ok")


# In this process, where time can be moved


@asynccontextmanager
async def read_only(node: Node) -> AsyncIterator[None]:
    """During the block the node's connections may only read."""

    async def set_query_only(value: int) -> None:
        for found in gc.get_objects():
            if isinstance(found, Connection) and found._connection is not None:
                await found.call(lambda db: db.execute(f"PRAGMA query_only = {value}"))

    await set_query_only(1)
    try:
        yield
    finally:
        await set_query_only(0)


async def test_a_read_only_database(node: Node) -> None:
    before = await node.commit(SUMMARIZE)
    async with read_only(node):
        for tier in ("cheap", "fast"):
            assert_unavailable(await offer(node.http, node.url, order(), tier))
        async with node.http.post(f"{node.url}/v1/trust/create", json={"user_id": "a"}) as reply:
            assert reply.status == 503
            assert reply.headers["Retry-After"]
        found = await prompt_health(node.http, node.url)
        assert found["status"] == "degraded"
        assert "readonly" in found["problems"][0].replace("-", "")
        assert (await node.job(before))["status"] == "pending"
    await node.pass_time(10)
    assert (await prompt_health(node.http, node.url))["status"] == "ok"


async def test_a_result_that_cannot_be_stored_is_held_and_stored_later(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register()
    job_id = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    async with read_only(node):
        await worker.complete(job_id)
        await worker.send(type="heartbeat")
        await worker.expect("heartbeat_ack")
        await pass_time(node, 3)
        assert (await node.job(job_id))["status"] in {"assigned", "running"}
    async with asyncio.timeout(5):
        while (await node.job(job_id))["status"] != "completed":
            await pass_time(node, 1)


async def pass_time(node: Node, seconds: int) -> None:
    """Moves the clock as the node's own loop would, which puts a failed sweep off."""
    for _ in range(seconds):
        with suppress(StoreUnavailable):
            await node.pass_time(1)


async def test_a_job_that_could_not_be_assigned_is_assigned_later(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await node.commit(SUMMARIZE)
    async with read_only(node):
        ack = await worker.register()
        await pass_time(node, 3)
        assert (await node.job(job_id))["status"] == "pending"
    if ack["status"] == "error":
        await worker.register()
    assigned = asyncio.create_task(worker.expect("job_assign"))
    while not assigned.done():
        await pass_time(node, 1)
    assert (await assigned)["job_id"] == job_id


async def test_a_registration_that_cannot_be_stored_seats_nobody(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register(version="0")
    job_id = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    async with connected(node, worker.key) as newcomer:
        async with read_only(node):
            ack = await newcomer.register(version="0", active_jobs=[job_id])
            await worker_count(node, 0 if ack["status"] == "error" else 1)
        ack = await newcomer.register(version="0", active_jobs=[job_id])
        assert (ack["status"], ack["resumed"]) == ("ok", [job_id])
        await newcomer.prove(ack)
        await newcomer.complete(job_id)
        await node.until(job_id, "completed")


async def worker_count(node: Node, count: int) -> None:
    async with asyncio.timeout(5):
        while (await health(node.http, node.url))["workers_online"] != count:
            await asyncio.sleep(0.01)


async def test_a_worker_lost_while_nothing_can_be_stored(node: Node, worker: ForeignWorker) -> None:
    await worker.register()
    job_id = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    async with read_only(node):
        await worker.socket.close()
        await pass_time(node, 40)
    async with autopilot(node.http, node.url):
        await node.pass_time(1)
        await node.until(job_id, "completed")


async def test_trouble_in_the_middle_of_a_burst(tmp_path: Path, clock: FakeClock) -> None:
    """Whatever was answered with 201 is there; what got 503 may be sent again with its key."""
    database = tmp_path / "jobs.sqlite3"
    async with running_node(database, clock) as node, connected(node) as worker:
        await worker.register("LLM_INFER")
        jobs: dict[str, str] = {}

        async def client(number: int) -> None:
            for n in range(5):
                key = f"{number}-{n}"
                headers = {"Idempotency-Key": key}
                while key not in jobs:
                    answer = await offer(node.http, node.url, order(), headers=headers)
                    if answer[0] == 201:
                        jobs[key] = answer[1]["job_id"]
                    else:
                        assert_unavailable(answer)

        clients = asyncio.gather(*(client(number) for number in range(8)))
        while not clients.done():
            with newer_version(database):
                await prompt_health(node.http, node.url)
            await prompt_health(node.http, node.url)
            await prompt_health(node.http, node.url)
        await clients
        assert len(set(jobs.values())) == 40
        async with autopilot(node.http, node.url, max_concurrent_jobs=8) as pilot:
            clock.advance(1)
            for job_id in jobs.values():
                await node.until(job_id, "completed")
        assert pilot.attempts.total() == 40
