"""Coordinators in processes of their own over one PostgreSQL server, and trouble among them."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from dispatchd.core.job import JobType
from dispatchd.worker import Output
from tests.support.ours import our_worker
from tests.support.postgres import Server
from tests.support.process import Process, clean_environment, free_port

_SETTLE_SECONDS = 90
_CLIENTS = 8
_JOB_SECONDS_MAX = 0.5
_BETWEEN_COMMITS_SECONDS = 0.02
_STATES = "SELECT status, count(*) FROM jobs GROUP BY status"
_TWICE = (
    "SELECT count(*) FROM (SELECT job_seq FROM chains_entries GROUP BY 1 HAVING count(*) > 1) x"
)
_CHAINED = "SELECT count(*) FROM chains_entries"
_COUNTED = "SELECT coalesce(sum(completed), 0) FROM worker_records"
_SAMES = "SELECT count(*) FROM (SELECT payload FROM jobs GROUP BY 1 HAVING count(*) > 1) x"


@dataclass(frozen=True)
class Plan:
    """What happens: for so long, a kill every so many seconds, and whether the store crashes."""

    seconds: float
    kill_every: float
    restart_store: bool
    coordinators: int = 3


class _Slow:
    """Takes a while, so that some jobs run whenever somebody dies."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        await asyncio.sleep(self._chance.random() * _JOB_SECONDS_MAX)
        yield Output({"summary": payload, "word_count": 1})


@dataclass
class Found:
    """What was there at the end."""

    accepted: int
    refused: int
    kills: int
    states: dict[str, int]
    chained: int
    chained_twice: int
    counted: int
    committed_twice: int

    @property
    def good(self) -> bool:
        """Whether every accepted job has completed, once, with one receipt."""
        done = self.states.get("completed", 0)
        whole = set(self.states) <= {"completed"} and done >= self.accepted > 0
        once = done == self.chained == self.counted
        return whole and once and not self.chained_twice and not self.committed_twice


@dataclass
class Chaos:
    """One run."""

    server: Server
    store: str
    home: Path
    plan: Plan
    chance: random.Random
    accepted: set[str] = field(default_factory=set)
    refused: int = 0
    kills: int = 0

    def __post_init__(self) -> None:
        self._ports = [free_port() for _ in range(self.plan.coordinators)]
        self._processes: dict[int, Process] = {}
        self._over = asyncio.Event()

    async def run(self) -> Found:
        """Starts everything, makes trouble, waits until all is quiet, and looks."""
        with ExitStack() as processes:
            processes.callback(self._end_all)
            for port in self._ports:
                self._start(port)
            for process in self._processes.values():
                await asyncio.to_thread(process.url)
            async with AsyncExitStack() as workers, aiohttp.ClientSession() as http:
                for _ in range(4):
                    urls = [self._url(port) for port in self._ports]
                    task = {JobType.TASK: _Slow(self.chance)}
                    await workers.enter_async_context(
                        our_worker(urls[0], task, places=4, others=urls[1:])
                    )
                numbers = itertools.count()
                clients = [self._commit_all(http, numbers) for _ in range(_CLIENTS)]
                committing = asyncio.gather(*clients)
                await self._make_trouble()
                self._over.set()
                await committing
                await self._until_quiet()
                return await self._look()

    def _url(self, port: int) -> str:
        return f"http://127.0.0.1:{port}"

    def _start(self, port: int) -> None:
        folder = self.home / str(port)
        folder.mkdir(exist_ok=True)
        given = ("run", "--testnet", "--no-worker", "--port", str(port), "--store", self.store)
        self._processes[port] = Process(given, clean_environment(folder))

    def _end_all(self) -> None:
        for process in self._processes.values():
            process.close()

    async def _make_trouble(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.plan.seconds
        crash = loop.time() + self.plan.seconds / 2 if self.plan.restart_store else end + 1
        while (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, self.plan.kill_every))
            port = self.chance.choice(self._ports)
            await asyncio.to_thread(self._processes[port].close)
            self.kills += 1
            if loop.time() > crash:
                crash = end + 1
                await asyncio.to_thread(self.server.stop)
                await asyncio.sleep(1)
                await asyncio.to_thread(self.server.start)
            self._start(port)

    async def _commit_all(self, http: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        while not self._over.is_set():
            await self._commit(http, next(numbers))
            await asyncio.sleep(_BETWEEN_COMMITS_SECONDS)

    async def _commit(self, http: aiohttp.ClientSession, number: int) -> None:
        """Commits a job until somebody has taken it, as a client with a key of its own may."""
        payload = {"job_type": "TASK", "task_type": "summarize", "input": f"text {number}"}
        body = {"job_type": "TASK", "user_id": "ann", "payload": payload}
        headers = {"Idempotency-Key": f"job {number}"}
        while True:
            url = f"{self._url(self.chance.choice(self._ports))}/v1/jobs/commit/cheap"
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                timeout = aiohttp.ClientTimeout(total=15)
                async with http.post(url, json=body, headers=headers, timeout=timeout) as reply:
                    answer: Any = await reply.json()
                    if reply.status == 201:
                        self.accepted.add(answer["job_id"])
                        return
                    assert reply.status == 503, answer
                    assert "Retry-After" in reply.headers
            self.refused += 1
            await asyncio.sleep(0.1)

    async def _until_quiet(self) -> None:
        connection = await asyncpg.connect(self.store)
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                while set(await _states(connection)) - {"completed", "failed"}:
                    await asyncio.sleep(0.2)
        finally:
            await connection.close()

    async def _look(self) -> Found:
        connection = await asyncpg.connect(self.store)
        try:
            return Found(
                accepted=len(self.accepted),
                refused=self.refused,
                kills=self.kills,
                states=await _states(connection),
                chained=await connection.fetchval(_CHAINED),
                chained_twice=await connection.fetchval(_TWICE),
                counted=int(await connection.fetchval(_COUNTED)),
                committed_twice=await connection.fetchval(_SAMES),
            )
        finally:
            await connection.close()


async def _states(connection: "asyncpg.Connection[Any]") -> dict[str, int]:
    return {str(row[0]): int(row[1]) for row in await connection.fetch(_STATES)}
