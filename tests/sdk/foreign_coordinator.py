"""A coordinator as somebody else would write it: part 1 of the protocol, and nothing of dispatchd.

It knows no `?wait=`, no events and no Idempotency-Key; a test says what goes wrong with it. With a
cashier, the same payment is the same job; `taken_but` is what it answers once it has taken one.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from nacl.signing import SigningKey

from tests.sdk.cashier import Cashier
from tests.support.threads import on_a_thread

# No JSON printer of ours writes numbers, spaces and half a surrogate pair like that.
ODD_OUTPUT = '{"text": "caf\\u00e9 \\ud83d",  "confidence": 1.0, "n": 1E3}'


@dataclass
class ForeignCoordinator:
    """What it has seen, and how it behaves."""

    url: str = ""
    output: str = ODD_OUTPUT
    polls_until_done: int = 3
    error: str | None = None
    price: str = "$0.010"
    asks: str | None = None
    cashier: Cashier | None = None
    taken_but: list[web.Response] = field(default_factory=list)
    job_payment: dict[str, Any] | None = None
    endpoint: str = "/v1/jobs/commit/fast"
    refusals: list[int] = field(default_factory=list)
    poll_refusals: list[int] = field(default_factory=list)
    lost_answers: int = 0
    intro: dict[str, Any] | None = None
    keeps_keys: bool = False
    strict_queries: bool = False
    orders: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    polls: int = 0
    key: SigningKey = field(default_factory=SigningKey.generate)
    jobs: dict[str, str] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Every request comes here."""
        self.paths.append(f"{request.method} {request.path_qs}")
        if request.path == "/" and self.intro is not None:
            return web.json_response(self.intro)
        if request.path == "/v1/quote":
            return self._quote()
        if request.path.startswith("/v1/jobs/commit/"):
            return await self._commit(request)
        if request.path.startswith("/v1/jobs/") and request.path.count("/") == 3:
            return self._poll(request)
        return web.Response(status=404, text="<h1>nothing here</h1>", content_type="text/html")

    def _quote(self) -> web.Response:
        return web.json_response(
            {
                "price": self.price,
                "endpoint": self.endpoint,
                "policy_resolved": "FAST",
                "network": "eip155:10143",
                "expires_at": None,
            }
        )

    async def _commit(self, request: web.Request) -> web.StreamResponse:
        if self.refusals:
            headers = {"retry-after": "0"}
            return web.json_response({"error": "no"}, status=self.refusals.pop(0), headers=headers)
        if self.asks is not None and "X-PAYMENT" not in request.headers:
            offer = {"scheme": "exact", "price": self.asks, "network": "eip155:10143"}
            body = {"error": "X-PAYMENT header is required", "accepts": [offer]}
            return web.json_response(body, status=402)
        key = request.headers.get("Idempotency-Key", "") if self.keeps_keys else str(uuid.uuid4())
        if self.cashier is not None:
            self.keys.append(request.headers.get("Idempotency-Key", ""))
            if unpaid := self.cashier.take(request.headers):
                return unpaid
            key = self.cashier.payments[-1]["payload"]["authorization"]["nonce"]
        if key not in self.jobs:
            self.orders.append(await request.json())
            self.jobs[key] = str(uuid.uuid4())
        self.headers.append(dict(request.headers))
        if self.lost_answers:
            self.lost_answers -= 1
            assert request.transport
            request.transport.abort()
        if self.taken_but:
            return self.taken_but.pop(0)
        return web.json_response({"job_id": self.jobs[key]}, status=201)

    def _poll(self, request: web.Request) -> web.Response:
        if self.strict_queries and request.query:
            return web.json_response({"error": "unknown parameter"}, status=400)
        if self.poll_refusals:
            return web.Response(status=self.poll_refusals.pop(0), text="bad gateway")
        job_id = request.path.rpartition("/")[2]
        if job_id not in self.jobs.values():
            return web.json_response({"error": "Job not found"}, status=404)
        self.polls += 1
        done = self.polls >= self.polls_until_done
        status, result, receipt = "running", "null", "null"
        if done and self.error:
            status, result = "failed", json.dumps({"error": self.error})
        elif done:
            status, result, receipt = "completed", self.output, self.receipt(job_id)
        head = f'{{ "id": "{job_id}", "status": "{status}",\n'
        paid = f', "payment": {json.dumps(self.job_payment)}' if self.job_payment else ""
        text = f'{head} "result": {result}, "receipt": {receipt}{paid}}}'
        return web.Response(text=text, content_type="application/json")

    def receipt(self, job_id: str) -> str:
        """A receipt with the bare hash, printed with spaces by whoever passes it on."""
        receipt = {
            "job_id": job_id,
            "provider_pubkey": bytes(self.key.verify_key).hex(),
            "output_hash": hashlib.sha256(self.output.encode()).hexdigest(),
            "completed_at": "2026-02-09T12:00:02.000Z",
            "payment_ref": None,
        }
        signed = json.dumps(receipt, separators=(",", ":")).encode()
        signature = base64.b64encode(self.key.sign(signed).signature).decode()
        return json.dumps(receipt | {"signature": signature})


@asynccontextmanager
async def foreign_coordinator(**settings: Any) -> AsyncIterator[ForeignCoordinator]:
    """One that runs for as long as the block."""
    coordinator = ForeignCoordinator(**settings)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", coordinator.answer)
    server = TestServer(app)
    await server.start_server()
    coordinator.url = str(server.make_url("")).rstrip("/")
    try:
        yield coordinator
    finally:
        await server.close()


@contextmanager
def served(**settings: Any) -> Iterator[ForeignCoordinator]:
    """The same on a thread of its own, for tests that block."""
    with on_a_thread(foreign_coordinator(**settings)) as coordinator:
        yield coordinator
