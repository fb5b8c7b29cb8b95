"""A client that pays for its jobs, header by header."""

import base64
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from msgspec import Struct

from dispatchd.payment.demand import read_demands
from dispatchd.payment.wallet import Wallet
from dispatchd.payment.wallets import development_wallet
from tests.support.crowd import order

SIGNATURE = "PAYMENT-SIGNATURE"


class Answer(Struct, frozen=True):
    """A reply to a commit."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def job_id(self) -> str:
        """The job that it has become."""
        assert self.status == 201, self
        return str(self.body["job_id"])

    def ended(self, header: str = "PAYMENT-RESPONSE") -> dict[str, Any]:
        """What a header says of how the payment ended."""
        return unpacked(self.headers[header])


class Payer:
    """A wallet at a node; `header` is what it would send next."""

    def __init__(self, http: aiohttp.ClientSession, url: str, wallet: Wallet | None = None) -> None:
        self._http = http
        self._url = url
        self.wallet = wallet or development_wallet(0)

    async def commit(
        self,
        headers: Mapping[str, str] | None = None,
        body: dict[str, Any] | None = None,
        tier: str = "cheap",
    ) -> Answer:
        """Commits with these headers, and with no payment of its own."""
        return await self.post(f"/v1/jobs/commit/{tier}", headers, body or order())

    async def post(
        self, path: str, headers: Mapping[str, str] | None, body: dict[str, Any]
    ) -> Answer:
        """Sends an order."""
        async with self._http.post(self._url + path, json=body, headers=headers) as reply:
            return Answer(reply.status, await reply.json(), dict(reply.headers))

    async def signed(
        self,
        body: dict[str, Any] | None = None,
        tier: str = "cheap",
        *,
        version: int = 2,
        now: int | None = None,
    ) -> dict[str, str]:
        """A payment for an order, by what the node asks for it."""
        asked = await self.commit(None, body, tier)
        assert asked.status == 402, asked
        headers = asked.headers if version == 2 else {}
        (demand,) = read_demands(headers, json.dumps(asked.body).encode())
        seconds = int(time.time()) if now is None else now
        name, value = self.wallet.pay(demand, seconds, nonce=secrets.token_bytes(32))
        return {name: value}

    async def buy(self, body: dict[str, Any] | None = None, tier: str = "cheap") -> Answer:
        """Commits and pays."""
        return await self.commit(await self.signed(body, tier), body, tier)


def unpacked(header: str) -> dict[str, Any]:
    """The JSON in a header."""
    return dict(json.loads(base64.b64decode(header, validate=True)))


def nonce_of(headers: Mapping[str, str]) -> str:
    """What a payment can be used once by."""
    (value,) = headers.values()
    return str(unpacked(value)["payload"]["authorization"]["nonce"])
