"""One coordinator's verbs over HTTP, with typed errors."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import quote as escaped

import msgspec
from msgspec import Struct

from dispatchd.core.apikey import operator_text
from dispatchd.core.chain import Bundle, EntryPage, SignedRoot
from dispatchd.core.keys import KeyPair
from dispatchd.sdk.errors import (
    BadReply,
    CommitLost,
    ComputeError,
    Conflict,
    InvalidRequest,
    NotFound,
    NoTrustedWorker,
    Unauthorized,
    Unreachable,
)
from dispatchd.sdk.http import Http, Pace, Reply, Request, sentence_of
from dispatchd.sdk.result import JobReply
from dispatchd.wire.events import Event, EventTooLong, events_of

_CREATED = 201
_PAYMENT_REQUIRED = 402
_REFUSALS: Mapping[int, type[InvalidRequest]] = MappingProxyType(
    {401: Unauthorized, 404: NotFound, 409: Conflict}
)
_OURS = "dispatchd"
_T = TypeVar("_T")


class Quote(Struct, frozen=True):
    """A price, and the endpoint that it holds for."""

    price: str
    endpoint: str
    policy_resolved: str = ""
    network: str = ""
    expires_at: str | None = None


class CoordinatorClient:
    """Asks one coordinator, ours or anybody else's."""

    def __init__(self, http: Http, pace: Pace | None = None) -> None:
        self._http = http
        self._pace = pace or Pace()
        self._long_polls = True

    async def quote(self, job_type: str, policy: str) -> Quote:
        """The price of a job."""
        answer = await self.get("/v1/quote", {"job_type": job_type, "policy": policy})
        try:
            quote = msgspec.convert(answer, Quote)
        except msgspec.ValidationError as error:
            raise BadReply(f"The coordinator's quote lacks something: {error}") from None
        if not quote.endpoint.startswith("/") or quote.endpoint.startswith("//"):
            raise BadReply(f"The quote names an endpoint elsewhere: {quote.endpoint}")
        return quote

    async def commit(
        self, endpoint: str, order: dict[str, Any], headers: Mapping[str, str], *, paid: bool
    ) -> Reply:
        """The reply to a commit: 201, or 402 where it is to be paid; others are raised.

        `headers` hold the Idempotency-Key. Where an answer is lost, the commit is repeated if it is
        `paid`, since the one payment in its headers moves money once at most, or if the coordinator
        is known to keep such keys; in the end `CommitLost` is raised.
        """
        request = Request("POST", endpoint, body=order, headers=headers)
        pauses = self._pace.waiting_retries if paid else self._pace.retries
        try:
            reply = await self._http.ask(request, pauses, None if paid else self._keeps_keys)
        except Unreachable as failure:
            if not failure.uncertain:
                raise
            raise CommitLost(f"{failure}; the job may be under way", paid=paid) from failure
        if reply.status >= 500:
            raise CommitLost(f"The commit broke: {sentence_of(reply)}", paid=paid)
        if reply.status not in {_CREATED, _PAYMENT_REQUIRED}:
            problem = refusal(reply)
            raise CommitLost(str(problem), paid=True) if paid and reply.doubted else problem
        return reply

    async def job(self, job_id: str) -> JobReply:
        """A job as it is now."""
        return JobReply.parse((await self._ok(Request("GET", _path(job_id)))).text)

    async def wait(self, job_id: str) -> JobReply:
        """A job once it has ended; without a limit of time.

        A coordinator that does not know `?wait=` answers at once, so that this is a plain poll.
        """
        while True:
            asked = time.monotonic()
            try:
                job = await self._look(job_id)
            except (NotFound, Unauthorized):
                raise
            except InvalidRequest:
                if not self._long_polls:
                    raise
                self._long_polls = False
                continue
            if job.ended:
                return job
            await asyncio.sleep(max(0.0, self._pace.poll - (time.monotonic() - asked)))

    async def events(self, job_id: str) -> AsyncGenerator[Event]:
        """A job's events from its beginning; ends where the coordinator ends or knows none."""
        request = Request("GET", f"{_path(job_id)}/events", headers={"Accept": "text/event-stream"})
        async with self._http.opened(request) as response:
            if response.ok and response.content_type == "text/event-stream":
                async with aclosing(events_of(response.content.iter_any())) as events:
                    try:
                        async for event in events:
                            yield event
                    except EventTooLong:
                        raise BadReply("An event is too long") from None

    async def cancel(self, job_id: str) -> JobReply:
        """Cancels a job; raises `Conflict` where it has ended otherwise."""
        return JobReply.parse((await self._ok(Request("DELETE", _path(job_id)))).text)

    async def explain(self, job_id: str) -> dict[str, Any]:
        """Why a job waits."""
        return await self.get(f"{_path(job_id)}/explain")

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Any other thing that can be looked at."""
        return (await self._ok(Request("GET", path, params or {}))).object

    async def bundle(self, job_id: str) -> Bundle:
        """All that proves a job's result; raises `Conflict` where it has not completed."""
        return await self._proof(f"/v1/receipts/{escaped(job_id, safe='')}", Bundle)

    async def root(self) -> SignedRoot:
        """The signed Merkle root over the coordinator's chain of receipts."""
        return await self._proof("/v1/receipts/root", SignedRoot)

    async def entries(self, after: int, limit: int) -> EntryPage:
        """The entries of the chain behind a sequence number, so many at the most."""
        params = {"after": str(after), "limit": str(limit)}
        return await self._proof("/v1/receipts", EntryPage, params)

    async def create_code(self, user_id: str) -> dict[str, Any]:
        """A pairing code. Each call makes another one, so none is repeated blindly."""
        return await self._post("/v1/trust/create", {"user_id": user_id})

    async def claim_code(self, code: str, provider_pubkey: str) -> dict[str, Any]:
        """Makes the worker with that key one of those that the code's user trusts."""
        body = {"pairing_code": code, "provider_pubkey": provider_pubkey}
        return await self._post("/v1/trust/claim", body)

    async def unpair(self, user_id: str, provider_pubkey: str) -> dict[str, Any]:
        """Ends a user's trust in a worker; raises `NotFound` where there is none."""
        params = {"user_id": user_id, "provider_pubkey": provider_pubkey}
        return (await self._ok(Request("DELETE", "/v1/trust", params))).object

    async def create_key(self, user_id: str, operator: KeyPair | None = None) -> dict[str, Any]:
        """A user's API key, which a second call does not give again.

        `operator` is the coordinator's own key, for nodes that make first keys for nobody else.
        Raises `Conflict` where the user has a key and it is not the one that this client shows.
        """
        body = {"user_id": user_id}
        if operator is not None:
            body["operator_signature"] = operator.sign(operator_text(operator.public_hex, user_id))
        return await self._post("/v1/users", body)

    async def faucet(self, address: str, amount: int) -> dict[str, Any]:
        """Simulated money, in atomic units, from a node that simulates payments."""
        body = {"address": address, "amount": str(amount)}
        return await self._post("/facilitator/faucet", body)

    async def _look(self, job_id: str) -> JobReply:
        """A job once it has ended or the long poll is over."""
        params = {"wait": f"{self._pace.wait:g}"} if self._long_polls else {}
        request = Request("GET", _path(job_id), params)
        return JobReply.parse((await self._ok(request, self._pace.waiting_retries)).text)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = await self._http.ask(Request("POST", path, body=body), self._pace.retries, _never)
        return _accepted(reply).object

    async def _proof(
        self, path: str, kind: type[_T], params: Mapping[str, str] | None = None
    ) -> _T:
        reply = await self._ok(Request("GET", path, params or {}))
        try:
            return msgspec.json.decode(reply.text, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadReply(f"The coordinator's receipts cannot be read: {error}") from None

    async def _ok(self, request: Request, pauses: tuple[float, ...] | None = None) -> Reply:
        return _accepted(await self._http.ask(request, pauses or self._pace.retries))

    async def _keeps_keys(self) -> bool:
        """Whether this is one of ours, which are known to keep Idempotency-Keys.

        Asked only after an answer was lost; until the coordinator is back there is no saying.
        """
        for pause in self._pace.waiting_retries:
            try:
                reply = await self._http.ask(Request("GET", "/"), ())
                return reply.object.get("service") == _OURS
            except Unreachable:
                await asyncio.sleep(pause)
            except BadReply:
                return False
        return False


def refusal(reply: Reply) -> ComputeError:
    """The error that a reply is which is no success."""
    sentence = sentence_of(reply)
    try:
        body = reply.object
    except BadReply:
        body = {}
    if sentence == "no_trusted_worker":
        return NoTrustedWorker(body.get("job_id"))
    if 400 <= reply.status < 500:
        detail = f" ({body['detail']})" if body.get("detail") else ""
        kind = _REFUSALS.get(reply.status, InvalidRequest)
        return kind(f"{sentence}{detail}", hint=str(body.get("hint") or ""))
    return BadReply(f"The coordinator answers {reply.status}: {sentence}")


def _accepted(reply: Reply) -> Reply:
    if reply.status not in {200, _CREATED}:
        raise refusal(reply)
    return reply


def _path(job_id: str) -> str:
    return f"/v1/jobs/{escaped(job_id, safe='')}"


async def _never() -> bool:
    return False
