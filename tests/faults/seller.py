"""A node that sells by a far facilitator, started again and again over the same folder."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp

from dispatchd.payment.wallets import development_wallet
from tests.support.crowd import job
from tests.support.facilitator import Facilitator
from tests.support.payer import Payer
from tests.support.process import Process, dispatchd

PAYEE = development_wallet(10).address
_LIMITS = ("lease_seconds=2", "renew_seconds=0.5", "sweep_seconds=0.2", "faults_max=2")


class Selling:
    """One run of the node, a client that pays, and who looks on."""

    def __init__(self, process: Process, http: aiohttp.ClientSession, url: str) -> None:
        self.process = process
        self.http = http
        self.url = url
        self.payer = Payer(http, url)

    def kill(self) -> None:
        """As the machine's power fails."""
        self.process.popen.kill()
        self.process.popen.wait()

    async def job(self, job_id: str) -> dict[str, Any]:
        """A job as the poll shows it."""
        return await job(self.http, self.url, job_id)

    async def until(self, job_id: str, status: str, payment: str) -> dict[str, Any]:
        """Polls until a job and its payment are in these states; ten seconds at most."""
        async with asyncio.timeout(10):
            while True:
                found = await self.job(job_id)
                if (found["status"], found["payment"]["state"]) == (status, payment):
                    return found
                await asyncio.sleep(0.02)

    async def jobs(self) -> list[dict[str, Any]]:
        """All jobs."""
        async with self.http.get(f"{self.url}/v1/jobs") as reply:
            return list((await reply.json())["jobs"])


class Seller:
    """The same node again and again."""

    def __init__(self, folder: Path, facilitator: Facilitator) -> None:
        self._folder = folder
        self._facilitator = facilitator

    @asynccontextmanager
    async def running(self, *more: str) -> AsyncIterator[Selling]:
        """Runs it, without a worker of its own; nothing may have gone wrong in it."""
        folder = ("--data-dir", str(self._folder / "node"), "--port", "0", "--no-worker")
        sells = ("--pay-to", PAYEE, "--facilitator", self._facilitator.url)
        limits = [part for limit in _LIMITS for part in ("--limit", limit)]
        home = self._folder / "home"
        with dispatchd("run", *folder, *sells, *limits, *more, home=home) as process:
            url = await asyncio.to_thread(process.url)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
                yield Selling(process, http, url)
            assert "Traceback" not in process.err.text, process.err.text
            assert " ERROR " not in process.err.text, process.err.text

    def rows(self, sql: str) -> list[Any]:
        """What stands in the database of the stopped node."""
        with closing(sqlite3.connect(self._folder / "node" / "monad.sqlite3")) as db:
            return db.execute(sql).fetchall()
