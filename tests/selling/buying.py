"""What a buyer does over HTTP, and the worker that earns it."""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispatchd.core.job import JobType
from dispatchd.payment.demand import read_demands
from dispatchd.payment.wallet import Wallet
from dispatchd.payment.wallets import development_wallet
from dispatchd.worker import Executor
from tests.support.executors import Gated
from tests.support.node import USER, Node
from tests.support.ours import our_worker

TASK = {"job_type": "TASK", "task_type": "classify", "input": "It works well."}
ANSWER: dict[str, object] = {"sentiment": "positive", "confidence": 0.5}
ALICE, BOB = development_wallet(0), development_wallet(1)
FAST = "/v1/jobs/commit/fast"
PRICE = 3_000
START_BALANCE = 1_000_000_000
PATIENCE_SECONDS = 10

_nonces = itertools.count(1)


@dataclass
class Answer:
    """A reply."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def job_id(self) -> str:
        assert self.status == 201, self.body
        return str(self.body["job_id"])


def order(user_id: str = USER, **fields: Any) -> dict[str, Any]:
    return {"job_type": "TASK", "user_id": user_id, "payload": TASK} | fields


@dataclass
class Market:
    """A node that sells, with its buyers."""

    node: Node
    database: Path
    orders: dict[str, Any] = field(default_factory=order)

    async def post(
        self, path: str = FAST, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        body = self.orders if body is None else body
        url = self.node.url + path
        async with self.node.http.post(url, json=body, headers=headers) as reply:
            return Answer(reply.status, json.loads(await reply.text()), reply.headers)

    async def signed(
        self, wallet: Wallet = ALICE, path: str = FAST, body: Any = None, version: int = 2
    ) -> dict[str, str]:
        """The header with a payment for an order."""
        asked = await self.post(path, body)
        assert asked.status == 402, asked.body
        headers = asked.headers if version == 2 else {}
        (wanted,) = read_demands(headers, json.dumps(asked.body).encode())
        nonce = next(_nonces).to_bytes(32)
        name, value = wallet.pay(wanted, self.node.clock.now() // 1000, nonce=nonce)
        return {name: value}

    async def buy(self, wallet: Wallet = ALICE, **fields: Any) -> str:
        """Buys a job; its id."""
        body = self.orders | fields
        headers = await self.signed(wallet, body=body)
        return (await self.post(body=body, headers=headers)).job_id

    async def payment_of(self, job_id: str) -> dict[str, Any]:
        return dict((await self.node.job(job_id))["payment"])

    async def until(self, job_id: str, state: str) -> dict[str, Any]:
        """Polls until a job's payment has a state."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.payment_of(job_id))["state"] != state:
                await asyncio.sleep(0.005)
        return await self.node.job(job_id)

    async def balance(self, wallet: Wallet = ALICE) -> int:
        url = f"{self.node.url}/facilitator/balances?address={wallet.address}"
        async with self.node.http.get(url) as reply:
            return int((await reply.json())["accounts"][0]["balance"])

    async def spent(self, wallet: Wallet = ALICE) -> int:
        return START_BALANCE - await self.balance(wallet)

    def rows(self) -> list[dict[str, Any]]:
        """What the database holds of payments."""
        with closing(sqlite3.connect(self.database)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM payments ORDER BY created_at")]

    def slow_worker(self) -> AbstractAsyncContextManager[None]:
        """Somebody who could do jobs, and finishes none."""
        return self.worker(Gated())

    @asynccontextmanager
    async def worker(self, executor: Executor, places: int = 1) -> AsyncIterator[None]:
        """A worker of ours for TASK and LLM_INFER jobs."""
        executors = {JobType.TASK: executor, JobType.LLM_INFER: executor}
        async with our_worker(self.node.url, executors, places=places) as key:
            async with asyncio.timeout(PATIENCE_SECONDS):  # the former one may be leaving still
                while self.node.parts.seats.with_key(key.public_hex) is None:
                    await asyncio.sleep(0.002)
            yield
