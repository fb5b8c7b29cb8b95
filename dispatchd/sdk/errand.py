"""One job's way through the network: quote, commit, pay where that is asked for, wait."""

import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from decimal import Decimal, InvalidOperation
from typing import Any

from dispatchd.core.job import JobType
from dispatchd.sdk import Payer
from dispatchd.sdk.coordinator import CoordinatorClient, Quote
from dispatchd.sdk.errors import BadReply, PaymentRequired
from dispatchd.sdk.follow import followed
from dispatchd.sdk.http import Reply, sentence_of
from dispatchd.sdk.order import Order
from dispatchd.sdk.result import ComputeResult, JobReply
from dispatchd.sdk.telling import Telling

_PAYMENT_REQUIRED = 402


class Errand:
    """Carries one order to one coordinator and the result back; `job_id` is there once it is."""

    def __init__(
        self, client: CoordinatorClient, order: Order, payer: Payer | None, route: str = ""
    ) -> None:
        self._client = client
        self._order = order
        self._payer = payer
        self._route = route
        self._price = ""
        self.started = time.monotonic()
        self.job_id: str | None = None

    @property
    def tells_text(self) -> bool:
        """Whether there is text to see before the end."""
        return self._order.job_type is JobType.LLM_INFER

    async def run(self) -> ComputeResult:
        """The result, once the job is done."""
        job_id = await self.commit()
        return self.result(job_id, await self._client.wait(job_id))

    async def stream(self, telling: Telling) -> AsyncGenerator[str | ComputeResult]:
        """The text in pieces as it comes, then the result."""
        job_id = await self.commit()
        async with aclosing(followed(self._client, job_id, telling)) as pieces:
            async for piece in pieces:
                yield piece
        result = self.result(job_id, await self._client.wait(job_id))
        if rest := telling.finish(result.output):
            yield rest
        yield result

    async def commit(self) -> str:
        """Quotes and commits; the job's id."""
        order = self._order
        quote = await self._client.quote(order.job_type.value, order.policy)
        self._price = quote.price
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        reply = await self._client.commit(quote.endpoint, order.body, headers, paid=False)
        if reply.status == _PAYMENT_REQUIRED:
            headers |= await self._pay(reply, quote)
            reply = await self._client.commit(quote.endpoint, order.body, headers, paid=True)
        if reply.status == _PAYMENT_REQUIRED:
            raise PaymentRequired(f"The payment was refused: {sentence_of(reply)}", _offers(reply))
        self.job_id = reply.object.get("job_id")
        if not isinstance(self.job_id, str):
            raise BadReply("The coordinator took the job but gave it no job_id")
        return self.job_id

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
            job_id=job_id,
            result_text=job.result_text,
            receipt_text=job.receipt_text,
        )

    async def _pay(self, reply: Reply, quote: Quote) -> Mapping[str, str]:
        offers = _offers(reply)
        if self._payer is None or not offers:
            raise PaymentRequired(f"This job costs {quote.price}, and there is no payer", offers)
        offer = next((one for one in offers if one.get("network") == quote.network), offers[0])
        if _dearer(offer.get("price"), quote.price):
            raise PaymentRequired(
                f"Quoted {quote.price}, but asked for {offer['price']}; nothing was paid", offers
            )
        return await self._payer.pay(offer)


def _offers(reply: Reply) -> list[dict[str, Any]]:
    offers = reply.object.get("accepts")
    return (
        [offer for offer in offers if isinstance(offer, dict)] if isinstance(offers, list) else []
    )


def _dearer(asked: object, quoted: str) -> bool:
    """Whether one price in dollars is above another; any other offer is the payer's to judge."""
    try:
        return Decimal(str(asked).lstrip("$")) > Decimal(quoted.lstrip("$"))
    except InvalidOperation:
        return False
