"""Workers that answer at once, and clients that commit many jobs."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
from nacl.signing import SigningKey

from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import Node

SUMMARIZE: dict[str, Any] = {"job_type": "TASK", "task_type": "summarize", "input": "A text."}
PROMPT: dict[str, Any] = {"job_type": "LLM_INFER", "prompt": "Hello"}
USER = "user_abc123"


def order(payload: dict[str, Any] = SUMMARIZE, **fields: Any) -> dict[str, Any]:
    """A commit's body."""
    return {"job_type": payload["job_type"], "user_id": USER, "payload": payload} | fields


class Autopilot:
    """Completes whatever it is sent, in the order in which it comes."""

    def __init__(self, worker: ForeignWorker) -> None:
        self._worker = worker
        self.assigned: list[str] = []
        self.errors: list[dict[str, Any]] = []

    @property
    def attempts(self) -> Counter[str]:
        """How often it was sent each job."""
        return Counter(self.assigned)

    async def run(self) -> None:
        """Works until the connection ends."""
        async for message in self._worker.socket:
            frame = json.loads(message.data)
            if frame["type"] == "job_assign":
                self.assigned.append(frame["job_id"])
                await self._worker.complete(frame["job_id"])
            elif frame["type"] == "error":
                self.errors.append(frame)


def connected(
    node: Node, key: SigningKey | None = None
) -> AbstractAsyncContextManager[ForeignWorker]:
    """A worker that is connected to a node, but not registered."""
    return foreign_worker(node.http, node.url, key)


@asynccontextmanager
async def autopilot(
    http: aiohttp.ClientSession, url: str, key: SigningKey | None = None, **fields: Any
) -> AsyncIterator[Autopilot]:
    """A connected worker that completes whatever it is sent until the end of the block."""
    async with foreign_worker(http, url, key) as worker:
        ack = await worker.register(**fields)
        assert ack["status"] == "ok", ack
        pilot = Autopilot(worker)
        flying = asyncio.create_task(pilot.run())
        try:
            yield pilot
        finally:
            flying.cancel()
            await asyncio.gather(flying, return_exceptions=True)


async def offer(
    http: aiohttp.ClientSession,
    url: str,
    body: dict[str, Any],
    tier: str = "cheap",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Tries to commit a job: the status, the object and the headers of the reply."""
    address = f"{url}/v1/jobs/commit/{tier}"
    async with http.post(address, json=body, headers=headers) as reply:
        return reply.status, await reply.json(), dict(reply.headers)


async def health(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """What the node says of itself."""
    async with http.get(f"{url}/v1/health") as reply:
        assert reply.status == 200
        return dict(await reply.json())


async def job(http: aiohttp.ClientSession, url: str, job_id: str, wait: int = 0) -> dict[str, Any]:
    """A job as the poll shows it, at its end or after so many seconds."""
    async with http.get(f"{url}/v1/jobs/{job_id}", params={"wait": wait}) as reply:
        assert reply.status == 200, await reply.text()
        return dict(await reply.json())


async def all_completed(
    http: aiohttp.ClientSession, url: str, job_ids: Iterable[str], seconds: float = 30
) -> list[dict[str, Any]]:
    """Waits until these jobs have completed, so long at the most."""
    gate = asyncio.Semaphore(32)

    async def one(job_id: str) -> dict[str, Any]:
        while True:
            async with gate:
                found = await job(http, url, job_id, wait=1)
            if found["status"] in {"completed", "failed"}:
                assert found["status"] == "completed", found
                return found

    async with asyncio.timeout(seconds):
        return await asyncio.gather(*(one(job_id) for job_id in job_ids))
