"""A page for sale: the smallest x402 server that our parts make, in front of any facilitator."""

from typing import Any

from aiohttp import web

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import Settlement
from dispatchd.payment import Facilitator
from dispatchd.payment.codec import read_payment, response_headers
from dispatchd.payment.offer import NEVER_KEPT, PAYMENT_REQUIRED, required_body, required_header
from tests.payment.paying import OFFER

WHAT = "A page"


class Shop:
    """Sells one page; `speaks` says which versions its 402 is in."""

    def __init__(self, facilitator: Facilitator, *speaks: int) -> None:
        self._facilitator = facilitator
        self._speaks = speaks or (1, 2)
        self.versions: list[int] = []

    async def serve(self, request: web.Request) -> web.Response:
        try:
            return await self._sell(request)
        except PaymentRefused as refused:
            ended = Settlement(success=False, network=OFFER.network, reason=refused.reason)
            reply = self._ask(request, refused.reason, refused.detail)
            reply.headers.update(response_headers(ended))
            return reply

    async def _sell(self, request: web.Request) -> web.Response:
        payload = read_payment(request.headers)
        if payload is None:
            return self._ask(request)
        self.versions.append(payload.version)
        verdict = await self._facilitator.verify(payload, OFFER)
        if not verdict.valid:
            raise PaymentRefused(str(verdict.reason), str(verdict.detail))
        ended = await self._facilitator.settle(payload, OFFER)
        sent = await request.text()
        headers = response_headers(ended, payload.network_name)
        return web.json_response({"bought": WHAT, "sent": sent}, headers=headers)

    def _ask(
        self, request: web.Request, error: str | None = None, detail: str | None = None
    ) -> web.Response:
        url = str(request.url)
        headers: dict[str, Any] = {"Content-Type": "application/json"} | dict(NEVER_KEPT)
        if 2 in self._speaks:
            headers[PAYMENT_REQUIRED] = required_header([OFFER], url, WHAT, error)
        body = required_body([OFFER], url, WHAT, error, detail, legacy_names=2 not in self._speaks)
        return web.Response(status=402, headers=headers, body=body)
