"""A coordinator on a real port of this process, under a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from dispatchd.api.access import KeyRules
from dispatchd.api.app import Edge, Instruments, Market
from dispatchd.coordination import Coordination
from dispatchd.coordinator.chain import open_chain
from dispatchd.core.clock import Clock
from dispatchd.core.job import Tier
from dispatchd.core.limits import Limits
from dispatchd.core.network import MONAD
from dispatchd.metrics.metrics import Metrics
from dispatchd.metrics.state import Scene
from dispatchd.store.sql.store import SqlStore
from dispatchd.store.sqlite.store import open_sqlite
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from dispatchd.selling import Shop

USER = "user_abc123"
OpenShop = Callable[[SqlStore, FakeClock, Limits], "AbstractAsyncContextManager[Shop]"]


@dataclass
class Node:
    """What a test may touch: the port first of all, the parts where time must be moved."""

    url: str
    http: aiohttp.ClientSession
    clock: FakeClock
    parts: Coordination
    store: SqlStore

    def crash(self) -> None:
        """From here on, ends like a killed process: nobody is told, nothing is put back."""
        for seat in self.parts.seats:
            seat.left.set()

    async def commit(
        self, payload: dict[str, Any], *, tier: Tier = Tier.CHEAP, **fields: Any
    ) -> str:
        """Commits a job of the payload's type and returns its id."""
        body = {"job_type": payload["job_type"], "user_id": USER, "payload": payload} | fields
        url = f"{self.url}/v1/jobs/commit/{tier.lower()}"
        async with self.http.post(url, json=body) as reply:
            answer = await reply.json()
            assert reply.status == 201, answer
            return str(answer["job_id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        """A job as the poll shows it."""
        async with self.http.get(f"{self.url}/v1/jobs/{job_id}") as reply:
            assert reply.status == 200
            return dict(await reply.json())

    async def until(self, job_id: str, status: str) -> dict[str, Any]:
        """Polls until a job has a status; ten seconds at most."""
        async with asyncio.timeout(10):
            while (found := await self.job(job_id))["status"] != status:
                await asyncio.sleep(0.005)
        return found

    async def pass_time(self, seconds: float) -> None:
        """Moves the clock in steps of a second, sweeping after each, as the node does."""
        while seconds > 0:
            self.clock.advance(min(1, seconds))
            await self.parts.sweep.once()
            seconds -= 1


@asynccontextmanager
async def running_node(
    database: Path,
    clock: FakeClock,
    limits: Limits | None = None,
    port: int = 0,
    opening: OpenShop | None = None,
    rules: KeyRules | None = None,
    public_host: str | None = None,
) -> AsyncIterator[Node]:
    """A coordinator without a worker of its own. Its sweep runs only in `pass_time`."""
    limits = limits or Limits()
    async with AsyncExitStack() as opened:
        metrics = Metrics()
        commits = metrics.commits_of(MONAD.caip2)
        store = await opened.enter_async_context(open_sqlite(database, commits))
        shop, market = None, Market()
        if opening is not None:
            shop = await opened.enter_async_context(opening(store, clock, limits))
            market = shop.market
        chain = await open_chain(store.chain, database)
        journal = metrics.jobs_of(MONAD.caip2, clock)
        parts = Coordination.over(store, chain, clock, limits, shop, (journal,))
        served = serving(parts, metrics, clock, limits, port, market, rules, public_host)
        async with served as (url, http):
            yield Node(url, http, clock, parts, store)


@asynccontextmanager
async def serving(
    parts: Coordination,
    metrics: Metrics,
    clock: Clock,
    limits: Limits,
    port: int = 0,
    market: Market | None = None,
    rules: KeyRules | None = None,
    public_host: str | None = None,
) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """A coordinator's parts on a port; its URL, and a client. Nothing of the sweep runs."""
    scene = Scene(MONAD.caip2, parts.seats, parts.matching)
    metrics.show(scene, None if parts.sales is None else parts.payments)
    await parts.prepare()
    edge = Edge(
        *(parts.coordinator, parts.admission, parts.work, parts.chain, MONAD, clock, limits),
        market or Market(),
        rules or KeyRules(),
        public_host,
        Instruments(metrics.text),
    )
    tasks = [asyncio.create_task(part()) for part in parts.running if part != parts.sweep.run]
    try:
        async with edge.listening("127.0.0.1", port) as got, aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{got}"
            if parts.neighbours is not None:
                tasks.append(asyncio.create_task(parts.neighbours.run(url)))
            yield url, http
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
