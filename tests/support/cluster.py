"""Coordinators over one PostgreSQL database, in this process, each on a port of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from dispatchd.api.relay import HttpRelay
from dispatchd.coordination import Coordination
from dispatchd.coordinator.chain import coordinator_key_file, open_chain
from dispatchd.core.clock import Clock, SystemClock
from dispatchd.core.limits import Limits
from dispatchd.metrics.metrics import Metrics
from dispatchd.store.postgres.store import open_postgres
from tests.support.node import serving

PATIENCE_SECONDS = 20


@dataclass
class Member:
    """One of the coordinators."""

    url: str
    http: aiohttp.ClientSession
    parts: Coordination

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The answer to a request, which must be a good one."""
        url = f"{self.url}{path}"
        async with self.http.request(method, url, json=body, headers=headers) as reply:
            answer = await reply.json()
            assert reply.status < 300, answer
            return answer

    async def commit(self, text: str = "a b c", tier: str = "cheap", **fields: Any) -> str:
        """Commits a summary and returns the job's id."""
        headers = {"Idempotency-Key": key} if (key := fields.pop("key", None)) else {}
        payload = {"job_type": "TASK", "task_type": "summarize", "input": text}
        body = {"job_type": "TASK", "user_id": "ann", "payload": payload} | fields
        answer = await self.ask("POST", f"/v1/jobs/commit/{tier}", body, **headers)
        return str(answer["job_id"])

    async def ended(self, job_id: str) -> dict[str, Any]:
        """A job once it has ended."""
        job = await self.ask("GET", f"/v1/jobs/{job_id}?wait={PATIENCE_SECONDS}")
        assert job["status"] in {"completed", "failed"}, job
        return dict(job)

    async def knows(self, workers: int) -> None:
        """Waits until this coordinator has heard of so many workers elsewhere."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.parts.seats.elsewhere) != workers:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def member(
    folder: Path, store: str, limits: Limits | None = None, clock: Clock | None = None
) -> AsyncIterator[Member]:
    """A coordinator over the database at `store`, with its key in a folder that is there.

    Under a clock that stands still it hears of what others do when it has jobs, and not always.
    """
    database, clock = folder / "jobs.sqlite3", clock or SystemClock()
    limits = limits or Limits()
    key = coordinator_key_file(database).load_or_create()
    async with open_postgres(store, key.public_hex) as opened, aiohttp.ClientSession() as session:
        chain = await open_chain(opened.chain, database)
        relay = HttpRelay(session)
        parts = Coordination.over(opened, chain, clock, limits, relay=relay)
        async with serving(parts, Metrics(), clock, limits) as (url, http):
            yield Member(url, http, parts)
