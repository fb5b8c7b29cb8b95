"""One offer, one payer, and payments changed in one place."""

import base64
import copy
import json
from collections.abc import Mapping
from typing import Any

from dispatchd.core.payment import Offer
from dispatchd.payment.codec import parse_payment
from dispatchd.payment.payload import PaymentPayload
from dispatchd.payment.tokens import find_token
from dispatchd.payment.wallet import Wallet
from dispatchd.payment.wallets import development_wallet
from tests.support.clock import START

NOW = START // 1000
MONAD_USDC = find_token("eip155:10143")
BASE_USDC = find_token("eip155:84532")
PAYER = development_wallet(0)
SELLER = development_wallet(1)
STRANGER = development_wallet(2)
NONCE = bytes(range(32))
OFFER = MONAD_USDC.offer(10_000, SELLER.address)
RESOURCE = "http://127.0.0.1:4010/v1/jobs/commit/fast"


def payment(
    version: int = 2,
    offer: Offer = OFFER,
    wallet: Wallet = PAYER,
    nonce: bytes = NONCE,
    now: int = NOW,
) -> dict[str, Any]:
    """A payment as JSON."""
    return unpacked(wallet.sign(offer, version, now, nonce=nonce, resource_url=RESOURCE))


def parsed(value: Mapping[str, Any]) -> PaymentPayload:
    """A payment's JSON, parsed."""
    return parse_payment(json.dumps(value))


def paid(version: int = 2, **changes: Any) -> PaymentPayload:
    """A payment, parsed."""
    return parsed(payment(version, **changes))


def changed(value: dict[str, Any], path: str, new: object) -> dict[str, Any]:
    """A copy with another value at a dotted path; `...` takes the field away."""
    result = copy.deepcopy(value)
    *way, last = path.split(".")
    inner = result
    for step in way:
        inner = inner[step]
    if new is ...:
        del inner[last]
    else:
        inner[last] = new
    return result


def packed(value: object) -> str:
    """JSON in a header."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def unpacked(header: str) -> dict[str, Any]:
    """The JSON of a header."""
    return dict(json.loads(base64.b64decode(header, validate=True)))


def high_s_twin(signature: str) -> str:
    """The other signature that anybody can make of one."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    raw = bytes.fromhex(signature[2:])
    s = order - int.from_bytes(raw[32:64])
    return "0x" + (raw[:32] + s.to_bytes(32) + bytes([27 + 28 - raw[64]])).hex()
