"""One job's way through the network: quote, commit, pay where that is asked for, wait."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from dispatchd.core.job import JobType
from dispatchd.sdk import Bill, Payer, Payment
from dispatchd.sdk.coordinator import CoordinatorClient, Quote
from dispatchd.sdk.errors import (
    BadReply,
    InvalidRequest,
    JobFailed,
    NetworkFailed,
    Overloaded,
    PaymentRequired,
    Unreachable,
)
from dispatchd.sdk.follow import followed
from dispatchd.sdk.http import Reply
from dispatchd.sdk.order import Order
from dispatchd.sdk.outlay import Outlay
from dispatchd.sdk.result import ComputeResult, JobReply
from dispatchd.sdk.telling import Telling

_PAYMENT_REQUIRED = 402
_BUSY_SECONDS = 0.5


class Errand:
    """Carries one order to one coordinator and the result back; `job_id` is there once it is.

    One payment is signed at the most. Where its fate is unknown the same one is sent again, with
    the same Idempotency-Key, and it is never replaced by another.
    """

    def __init__(
        self, client: CoordinatorClient, order: Order, payer: Payer | None, route: str = ""
    ) -> None:
        self._client = client
        self._order = order
        self._payer = payer
        self._route = route
        self._price = ""
        self._outlay: Outlay | None = None
        self.started = time.monotonic()
        self.job_id: str | None = None

    @property
    def tells_text(self) -> bool:
        """Whether there is text to see before the end."""
        return self._order.job_type is JobType.LLM_INFER

    @property
    def money_is_out(self) -> bool:
        """Whether a payment was sent that may have been taken, or may be."""
        return self.payment is not None

    @property
    def payment(self) -> Payment | None:
        """The payment that was sent and not given back."""
        return self._outlay.payment if self._outlay is not None and self._outlay.out else None

    async def run(self) -> ComputeResult:
        """The result, once the job is done."""
        job_id = await self.commit()
        return self.result(job_id, await self.wait())

    async def stream(self, telling: Telling) -> AsyncGenerator[str | ComputeResult]:
        """The text in pieces as it comes, then the result."""
        job_id = await self.commit()
        async with aclosing(followed(self._client, job_id, telling)) as pieces:
            async for piece in pieces:
                yield piece
        result = self.result(job_id, await self.wait())
        if rest := telling.finish(result.output):
            yield rest
        yield result

    async def commit(self, patience_seconds: float = 0) -> str:
        """Quotes, commits, and pays where that is asked for; the job's id.

        So long a paid order waits where the coordinator takes no more at the moment.
        """
        order = self._order
        quote = await self._client.quote(order.job_type.value, order.policy)
        self._price = quote.price
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        reply = await self._client.commit(quote.endpoint, order.body, headers, paid=False)
        if reply.status == _PAYMENT_REQUIRED:
            self._outlay = await self._paid(reply, quote)
            headers |= self._outlay.payment.headers
            reply = await self._send_paid(quote.endpoint, headers, patience_seconds, self._outlay)
        self.job_id = reply.object.get("job_id")
        if not isinstance(self.job_id, str):
            raise BadReply("The coordinator took the job but gave it no job_id")
        return self.job_id

    async def wait(self) -> JobReply:
        """The job once it has ended, and its payment with it."""
        job = await self._client.wait(self.job_id or "")
        if self._outlay is not None:
            self._outlay.ended(job)
        return job

    def result(self, job_id: str, job: JobReply) -> ComputeResult:
        """The result of a job that has ended; raises `JobFailed`."""
        if failure := job.failure(job_id):
            raise failure
        return ComputeResult(
            output=job.output,
            route=self._route,
            price=self._price,
            latency_ms=round((time.monotonic() - self.started) * 1000),
            receipt=job.receipt,
            payment=job.payment,
            job_id=job_id,
            result_text=job.result_text,
            receipt_text=job.receipt_text,
        )

    def mark(self, failure: NetworkFailed) -> None:
        """Says on a failure whose it is; while money may be out, the job goes nowhere else."""
        failure.job_id = failure.job_id or self.job_id
        if self.money_is_out:
            failure.may_fall_back = False

    async def _paid(self, reply: Reply, quote: Quote) -> Outlay:
        """The one payment of this errand."""
        if self._payer is None:
            sentence = f"This job costs {quote.price}, and there is no payer"
            raise PaymentRequired(
                sentence, _offers(reply), hint="Pay with --pay WALLET (payer= in the SDK)."
            )
        bill = Bill(reply.headers, reply.text, quote.price, quote.network)
        return Outlay(self._payer, await self._payer.pay(bill))

    async def _send_paid(
        self, endpoint: str, headers: dict[str, str], patience: float, outlay: Outlay
    ) -> Reply:
        """The reply to a commit that is paid for; what is known not to be taken is given back."""
        try:
            reply = await self._until_admitted(endpoint, headers, patience)
        except (InvalidRequest, JobFailed, Unreachable):
            # Where it is not known, `CommitLost` is raised instead.
            outlay.returned()
            raise
        if reply.status == _PAYMENT_REQUIRED:
            raise outlay.refused(reply)
        return reply

    async def _until_admitted(
        self, endpoint: str, headers: dict[str, str], patience: float
    ) -> Reply:
        while True:
            try:
                return await self._client.commit(endpoint, self._order.body, headers, paid=True)
            except Overloaded as busy:
                pause = max(_BUSY_SECONDS, busy.retry_seconds)
                patience -= pause
                if patience < 0:
                    raise
                await asyncio.sleep(pause)


def _offers(reply: Reply) -> list[dict[str, Any]]:
    try:
        offers = reply.object.get("accepts")
    except BadReply:  # version 2 leaves the body to the server
        offers = None
    return (
        [offer for offer in offers if isinstance(offer, dict)] if isinstance(offers, list) else []
    )
