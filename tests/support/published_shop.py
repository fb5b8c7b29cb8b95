"""A shop behind the server of the published Python x402 package, and a facilitator elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from x402 import x402ResourceServer
from x402.http import FacilitatorConfig, HTTPFacilitatorClient
from x402.http.types import (
    HTTPRequestContext,
    HTTPResponseInstructions,
    PaymentOption,
    RouteConfig,
    RoutesConfig,
)
from x402.http.x402_http_server import x402HTTPResourceServer
from x402.mechanisms.evm.exact.server import ExactEvmScheme

from tests.payment.serving import serving

SHOP = "0x2222222222222222222222222222222222222222"


class _Adapter:
    """aiohttp's request as the package wants to see one."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self._request = request
        self._body = body

    def get_header(self, name: str) -> str | None:
        return self._request.headers.get(name)

    def get_method(self) -> str:
        return self._request.method

    def get_path(self) -> str:
        return self._request.path

    def get_url(self) -> str:
        return str(self._request.url)

    def get_accept_header(self) -> str:
        return self._request.headers.get("Accept", "")

    def get_user_agent(self) -> str:
        return self._request.headers.get("User-Agent", "")

    def get_query_params(self) -> dict[str, str | list[str]]:
        return dict(self._request.query)

    def get_query_param(self, name: str) -> str | None:
        return self._request.query.get(name)

    def get_body(self) -> Any:
        return self._body


class PublishedShop:
    """Sells an echo of what it is sent."""

    def __init__(self, facilitator: str, network: str, price: str) -> None:
        self.client = HTTPFacilitatorClient(FacilitatorConfig(url=f"{facilitator}/facilitator"))
        resource = x402ResourceServer(self.client)
        resource.register(network, ExactEvmScheme())  # type: ignore[no-untyped-call, arg-type] # as its own examples do
        option = PaymentOption(scheme="exact", pay_to=SHOP, price=price, network=network)
        routes: RoutesConfig = {"POST /echo": RouteConfig(accepts=option)}
        self._server = x402HTTPResourceServer(resource, routes)

    async def prepare(self) -> None:
        """Asks the facilitator what it supports, which the package does blocking."""
        await asyncio.to_thread(self._server.initialize)

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        paid = request.headers.get("PAYMENT-SIGNATURE") or request.headers.get("X-PAYMENT")
        context = HTTPRequestContext(
            adapter=_Adapter(request, body),
            path=request.path,
            method=request.method,
            payment_header=paid,
        )
        found = await self._server.process_http_request(context)
        if found.response is not None:
            return _response(found.response)
        assert found.type == "payment-verified"
        assert found.payment_payload
        assert found.payment_requirements
        settled = await self._server.process_settlement(
            found.payment_payload, found.payment_requirements, context
        )
        if settled.response is not None:
            return _response(settled.response)
        return web.Response(body=b"You said " + body, headers=settled.headers)


@asynccontextmanager
async def published_shop(facilitator: str, network: str, price: str) -> AsyncIterator[str]:
    """The address of what it sells."""
    shop = PublishedShop(facilitator, network, price)
    await shop.prepare()
    app = web.Application()
    app.router.add_post("/echo", shop.serve)
    async with serving(app) as url:
        yield f"{url}/echo"
    await shop.client.aclose()


def _response(told: HTTPResponseInstructions) -> web.Response:
    headers = {k: v for k, v in told.headers.items() if k.lower() != "content-type"}
    return web.json_response(told.body or {}, status=told.status, headers=headers)
