"""The published Python client of x402 buys from a node, by httpx and by requests."""

import asyncio
from typing import Any

import httpx
import pytest
import requests
from eth_account import Account
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from x402 import x402Client, x402ClientSync
from x402.http.clients import wrapRequestsWithPayment, x402_httpx_transport
from x402.http.clients.requests import x402HTTPAdapter
from x402.mechanisms.evm.exact.register import register_exact_evm_client

from tests.clients.goods import GOODS, PAYER, Goods, Reply, assert_bought, costs, key_of
from tests.support.market import Market

SECONDS = 30
OLD = {"X-402-Version": "1"}
PAID_IN = {1: "X-PAYMENT", 2: "PAYMENT-SIGNATURE"}
EACH_OF_THE_GOODS = pytest.mark.parametrize("goods", GOODS.values(), ids=GOODS.keys())


class Transport(httpx.AsyncHTTPTransport):
    """Hides the offer of version 2 from clients that shall pay by version 1."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self._version = version
        self.sent: httpx.Headers | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent = request.headers
        reply = await super().handle_async_request(request)
        if self._version == 1:
            reply.headers.pop("PAYMENT-REQUIRED", None)
        return reply


class OldAdapter(x402HTTPAdapter):
    """The same for requests, and version 1."""

    def build_response(
        self, req: requests.PreparedRequest, resp: BaseHTTPResponse
    ) -> requests.Response:
        reply = HTTPAdapter.build_response(self, req, resp)
        reply.headers.pop("PAYMENT-REQUIRED", None)
        return reply


def bought_by_httpx(market: Market, goods: Goods, version: int) -> Reply:
    client = register_exact_evm_client(x402Client(), Account.from_key(key_of(PAYER)))

    transport = Transport(version)

    async def buy() -> httpx.Response:
        paying = x402_httpx_transport(client, transport)
        headers = OLD if version == 1 else {}
        async with httpx.AsyncClient(transport=paying, headers=headers, timeout=SECONDS) as http:
            return await http.post(market.url + goods.path, json=goods.body)

    reply = asyncio.run(buy())
    assert transport.sent
    assert PAID_IN[version] in transport.sent
    return Reply(reply.status_code, reply.headers, reply.text)


def bought_by_requests(market: Market, goods: Goods, version: int) -> Reply:
    client = register_exact_evm_client(x402ClientSync(), Account.from_key(key_of(PAYER)))
    with requests.Session() as http:
        if version == 2:
            wrapRequestsWithPayment(http, client)
        else:
            http.mount("http://", OldAdapter(client))
            http.headers.update(OLD)
        reply = http.post(market.url + goods.path, json=goods.body, timeout=SECONDS)
    assert PAID_IN[version] in reply.request.headers
    return Reply(reply.status_code, reply.headers, reply.text)


@EACH_OF_THE_GOODS
@pytest.mark.parametrize("version", [2, 1])
@pytest.mark.parametrize("buy", [bought_by_httpx, bought_by_requests])
def test_it_buys(monad: Market, buy: Any, version: int, goods: Goods) -> None:
    with costs(monad, goods.price):
        assert_bought(monad, goods, buy(monad, goods, version))
