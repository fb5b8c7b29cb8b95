"""The selling side of x402 as somebody else would write it, with eth-account for an oracle."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_typed_data

MONAD = "eip155:10143"
USDC = "0x534b2f3A21130d7a60830c2Df862319e593943A3"
SHOP = "0x1111111111111111111111111111111111111111"
RESOURCE = {"url": "http://shop.example/", "description": "Compute", "mimeType": "text/plain"}
NAMES = ("from", "to", "value", "validAfter", "validBefore", "nonce")
TYPES = ("address", "address", "uint256", "uint256", "uint256", "bytes32")


def header(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def unheader(text: str) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(text, validate=True)))


def offer_of(version: int, **changes: Any) -> dict[str, Any]:
    """An offer of a cent; a change to None takes a field away."""
    amount = {"maxAmountRequired": "10000", "resource": "http://shop.example/"}
    offer = {
        "scheme": "exact",
        "network": MONAD if version == 2 else "monad-testnet",
        "asset": USDC,
        "payTo": SHOP,
        "maxTimeoutSeconds": 1200,
        "extra": {"name": "USDC", "version": "2"},
    } | ({"amount": "10000"} if version == 2 else amount)
    return {name: value for name, value in (offer | changes).items() if value is not None}


def guides(**changes: Any) -> dict[str, Any]:
    """The guide's body, which has no version, no atomic units, no domain and no window."""
    offer = {"scheme": "exact", "price": "$0.010", "network": MONAD, "payTo": SHOP, "asset": USDC}
    offers = [{name: value for name, value in (offer | changes).items() if value is not None}]
    return {"error": "X-PAYMENT header is required", "accepts": offers}


@dataclass
class Cashier:
    """What it asks for in which version, and which payments it has seen.

    `signer` says who signed a payment by the offer that the cashier made, not by what it repeats.
    """

    header: dict[str, Any] | None = None
    body: dict[str, Any] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    payments: list[dict[str, Any]] = field(default_factory=list)
    offered: int = 0

    @property
    def nonces(self) -> set[str]:
        return {str(payment["payload"]["authorization"]["nonce"]) for payment in self.payments}

    def asked(self, reason: str = "", detail: str = "") -> web.Response:
        """The 402, for an unpaid request or a refused payment."""
        self.offered += 1
        headers = {}
        if self.header is not None:
            said = self.header | ({"error": reason} if reason else {})
            headers["PAYMENT-REQUIRED"] = header(said)
        body = self.body | ({"error": reason} if reason else {})
        body |= {"detail": detail} if detail else {}
        return web.json_response(body, status=402, headers=headers)

    def take(self, headers: Mapping[str, str]) -> web.Response | None:
        """None for a good payment, else the reply."""
        paid = headers.get("PAYMENT-SIGNATURE") or headers.get("X-PAYMENT")
        if paid is None:
            return self.asked()
        self.seen.append(paid)
        payment = unheader(paid)
        assert payment["x402Version"] == (2 if "PAYMENT-SIGNATURE" in headers else 1)
        self.payments.append(payment)
        if self.refusals:
            return self.asked(self.refusals.pop(0), "Thus says the shop")
        return None

    def signer(self) -> str:
        """Whose signature the last payment has, over the offer's own terms; checks those too."""
        payment = self.payments[-1]
        v2 = payment["x402Version"] == 2
        offered = (self.header if v2 else self.body) or {}
        if v2:
            (offer,) = (one for one in offered["accepts"] if one == payment["accepted"])
            assert payment["resource"] == offered["resource"]
        else:
            (offer,) = (one for one in offered["accepts"] if one["network"] == payment["network"])
        given = payment["payload"]["authorization"]
        assert (given["to"], given["validAfter"]) == (offer["payTo"], "0")
        assert given["value"] == (offer.get("amount") or offer.get("maxAmountRequired") or "10000")
        lasts = int(given["validBefore"]) - time.time()
        assert abs(lasts - min(3600, offer.get("maxTimeoutSeconds", 1200))) < 60
        return self.recovered(offer, given, payment["payload"]["signature"])

    @staticmethod
    def recovered(offer: dict[str, Any], given: dict[str, str], signature: str) -> str:
        extra = offer.get("extra") or {"name": "USDC", "version": "2"}
        numbers = {"value", "validAfter", "validBefore"}
        message = {name: int(given[name]) if name in numbers else given[name] for name in NAMES}
        chain = {"monad-testnet": 10143, "base-sepolia": 84532}.get(offer["network"])
        signable = encode_typed_data(
            domain_data={
                "name": extra["name"],
                "version": extra["version"],
                "chainId": chain or int(offer["network"].partition(":")[2]),
                "verifyingContract": offer["asset"],
            },
            message_types={
                "TransferWithAuthorization": [
                    {"name": name, "type": kind} for name, kind in zip(NAMES, TYPES, strict=True)
                ]
            },
            message_data=message | {"nonce": bytes.fromhex(given["nonce"][2:])},
        )
        return str(Account.recover_message(signable, signature=signature))


def v1(*offers: dict[str, Any]) -> Cashier:
    """A cashier that knows version 1 alone."""
    said = {"x402Version": 1, "error": "X-PAYMENT header is required"}
    return Cashier(body=said | {"accepts": list(offers) or [offer_of(1)]})


def v2(*offers: dict[str, Any]) -> Cashier:
    """A cashier that knows version 2 alone; its body says nothing."""
    said = {"x402Version": 2, "error": "Payment required", "resource": RESOURCE}
    return Cashier(header=said | {"accepts": list(offers) or [offer_of(2)]})


def both() -> Cashier:
    """A cashier like that of our node."""
    return Cashier(header=v2().header, body=v1().body)


def guide(**changes: Any) -> Cashier:
    """A cashier that was written after the guide."""
    return Cashier(body=guides(**changes))
