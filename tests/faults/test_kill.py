"""Killed at any moment: what was accepted is there afterwards, and is done exactly once."""

import asyncio
import base64
import json
import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from nacl.signing import SigningKey, VerifyKey

from tests.support.crowd import (
    PROMPT,
    SUMMARIZE,
    Autopilot,
    all_completed,
    autopilot,
    job,
    offer,
    order,
)
from tests.support.foreign import RECEIPT_FIELDS, ForeignWorker, foreign_worker
from tests.support.process import Process, dispatchd, free_port

CLIENTS = 16
WORKERS = 3
ROUNDS = 4
LONG_PROMPT = PROMPT | {"prompt": "What is a blockchain?", "max_tokens": 400}


class Machine:
    """The same node again and again: one database, one port."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "node" / "jobs.sqlite3"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder

    @contextmanager
    def running(self, *more: str) -> Iterator[Process]:
        port = self.url.rpartition(":")[2]
        places = ("--port", port, "--db", str(self.database), "--data-dir", str(self._folder))
        limits = ("lease_seconds=2", "renew_seconds=0.5", "sweep_seconds=0.2", "faults_max=20")
        settings = [part for limit in limits for part in ("--limit", limit)]
        with dispatchd(
            "run", "--testnet", *places, *settings, *more, home=self._folder / "home"
        ) as process:
            yield process

    def rows(self, sql: str) -> list[Any]:
        """What stands in the database of the stopped node."""
        with closing(sqlite3.connect(self.database)) as db:
            return db.execute(sql).fetchall()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield http


@asynccontextmanager
async def pilots(http: aiohttp.ClientSession, url: str) -> AsyncIterator[list[Autopilot]]:
    """A few workers, each with several places."""
    async with AsyncExitStack() as stack:
        flights = (autopilot(http, url, max_concurrent_jobs=4) for _ in range(WORKERS))
        yield [await stack.enter_async_context(flight) for flight in flights]


class Burst:
    """Clients that commit as fast as they can, and remember what was answered with 201."""

    def __init__(self, http: aiohttp.ClientSession, url: str, target: int) -> None:
        self._http = http
        self._url = url
        self._target = target
        self.accepted: list[str] = []
        self.reached = asyncio.Event()

    async def run(self) -> None:
        """Commits until the node has gone."""
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        while True:
            try:
                status, answer, _ = await offer(self._http, self._url, order())
            except (aiohttp.ClientError, OSError):
                return
            assert status == 201, answer
            self.accepted.append(answer["job_id"])
            if len(self.accepted) >= self._target:
                self.reached.set()


def assert_proven(done: dict[str, Any]) -> None:
    """The receipt is about this job, and signed by the key that it names."""
    receipt = done["receipt"]
    assert receipt["job_id"] == done["id"]
    signed = {name: receipt[name] for name in RECEIPT_FIELDS}
    text = json.dumps(signed, separators=(",", ":")).encode()
    key = VerifyKey(bytes.fromhex(receipt["provider_pubkey"]))
    key.verify(text, base64.b64decode(receipt["signature"]))


@pytest.mark.timeout(90)
async def test_a_node_killed_in_a_burst_again_and_again_loses_nothing(
    machine: Machine,
) -> None:
    chance = random.Random(3)
    accepted: list[str] = []
    attempts: Counter[str] = Counter()
    for _ in range(ROUNDS):
        with machine.running("--no-worker") as process:
            await asyncio.to_thread(process.url)
            async with session() as http, pilots(http, machine.url) as flying:
                burst = Burst(http, machine.url, chance.randint(1, 400))
                clients = asyncio.create_task(burst.run())
                async with asyncio.timeout(30):
                    await burst.reached.wait()
                    process.popen.kill()
                    await clients
            accepted += burst.accepted
            attempts.update(job_id for pilot in flying for job_id in pilot.assigned)
    assert len(set(accepted)) == len(accepted)
    with machine.running("--no-worker") as process:
        await asyncio.to_thread(process.url)
        async with session() as http, pilots(http, machine.url) as flying:
            ends = await all_completed(http, machine.url, accepted, 40)
            stored = [job_id for (job_id,) in machine.rows("SELECT id FROM jobs")]
            await all_completed(http, machine.url, stored, 40)
        attempts.update(job_id for pilot in flying for job_id in pilot.assigned)
        assert process.stop() == 0
        assert "Traceback" not in process.err.text, process.err.text
    for done in ends:
        assert_proven(done)
    assert max(attempts.values()) <= ROUNDS + 1
    (completions,) = machine.rows("SELECT sum(completed), sum(bad_receipts) FROM worker_records")
    assert completions == (len(stored), 0)


async def held(worker: ForeignWorker, count: int, **fields: Any) -> list[str]:
    await worker.register(max_concurrent_jobs=4, version="0", **fields)
    return [(await worker.expect("job_assign"))["job_id"] for _ in range(count)]


async def test_a_worker_that_comes_back_keeps_what_still_stands(machine: Machine) -> None:
    key = SigningKey.generate()
    with machine.running("--no-worker", "--limit", "lease_seconds=60") as process:
        await asyncio.to_thread(process.url)
        async with session() as http, foreign_worker(http, machine.url, key) as worker:
            for _ in range(3):
                await offer(http, machine.url, order())
            kept, finished, forgotten = await held(worker, 3)
            await worker.complete(finished)
            assert (await job(http, machine.url, finished, wait=10))["status"] == "completed"
            process.popen.kill()
            await worker.closed()
    with machine.running("--no-worker", "--limit", "lease_seconds=60") as process:
        await asyncio.to_thread(process.url)
        async with session() as http, foreign_worker(http, machine.url) as thief:
            ack = await thief.register(active_jobs=[kept], version="0")
            assert "resumed" not in ack
            async with foreign_worker(http, machine.url, key) as worker:
                claimed = [kept, finished, "0" * 36]
                ack = await worker.register(max_concurrent_jobs=4, version="0", active_jobs=claimed)
                assert ack["resumed"] == [kept]
                await worker.prove(ack)
                await worker.complete(kept)
                assert (await job(http, machine.url, kept, wait=10))["status"] == "completed"
                holder = thief if await holds(http, machine.url, thief) else worker
                again = await holder.expect("job_assign")
                assert (again["job_id"], again["attempt"]) == (forgotten, 2)
                await holder.complete(forgotten)
                assert (await job(http, machine.url, forgotten, wait=10))["receipt"]


async def holds(http: aiohttp.ClientSession, url: str, worker: ForeignWorker) -> bool:
    """Whether a worker has been given a job, once one of the workers has."""
    async with asyncio.timeout(10):
        while True:
            async with http.get(f"{url}/v1/workers") as reply:
                shown = (await reply.json())["workers"]
            active = {found["provider_pubkey"] for found in shown if found["active_jobs"]}
            if active:
                return worker.pubkey in active


async def test_a_job_that_ran_when_the_node_died_is_tried_again_once_its_lease_ends(
    machine: Machine,
) -> None:
    with machine.running("--no-worker") as process:
        await asyncio.to_thread(process.url)
        async with session() as http, foreign_worker(http, machine.url) as worker:
            _, answer, _ = await offer(http, machine.url, order())
            assert await held(worker, 1) == [answer["job_id"]]
            process.popen.kill()
            await worker.closed()
    with machine.running("--no-worker") as process:
        await asyncio.to_thread(process.url)
        async with session() as http, autopilot(http, machine.url) as pilot:
            await all_completed(http, machine.url, [answer["job_id"]])
            assert pilot.assigned == [answer["job_id"]]


async def test_a_node_killed_in_the_middle_of_its_own_work_does_it_after_a_restart(
    machine: Machine,
) -> None:
    with machine.running() as process:
        await asyncio.to_thread(process.url)
        async with session() as http:
            offers = [order(LONG_PROMPT), order(LONG_PROMPT), order(SUMMARIZE)]
            jobs = [(await offer(http, machine.url, body))[1]["job_id"] for body in offers]
            async with asyncio.timeout(20):
                while (await job(http, machine.url, jobs[0]))["status"] != "running":
                    await asyncio.sleep(0.005)
            process.popen.kill()
            process.popen.wait()
    with machine.running() as process:
        await asyncio.to_thread(process.url)
        async with session() as http:
            for done in await all_completed(http, machine.url, jobs):
                assert_proven(done)
    ((attempt, faults),) = machine.rows(f"SELECT attempt, faults FROM jobs WHERE id = '{jobs[0]}'")
    assert (attempt, faults) == (2, 1)
