"""Reads the 402 of any x402 server, for those who pay."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from dispatchd.core.errors import Invalid, PaymentRefused
from dispatchd.core.payment import Offer
from dispatchd.payment.header import decode_header
from dispatchd.payment.offer import PAYMENT_REQUIRED
from dispatchd.payment.terms import parse_offer

BODY_BYTES_MAX = 32 * 1024
_V1, _V2 = 1, 2


class Demand(Struct, frozen=True):
    """An offer as a server made it.

    `network_name`, `accepted`, `resource` and `extensions` are repeated to it as it wrote them.
    """

    version: int
    offer: Offer
    network_name: str
    accepted: dict[str, Any]
    resource: object = None
    extensions: object = None


def read_demands(headers: Mapping[str, str], body: bytes) -> list[Demand]:
    """The offers of a 402 that can be understood, in the server's order.

    Version 2 stands in a header and goes first. Raises `Invalid` where there is none.
    """
    found = next((v for name, v in headers.items() if name.upper() == PAYMENT_REQUIRED), None)
    try:
        asked = _of_body(body) if found is None else decode_header(found, PAYMENT_REQUIRED)
    except PaymentRefused as refused:
        raise Invalid(f"The server's offer cannot be read: {refused.detail}") from None
    version = asked.get("x402Version")
    accepts = asked.get("accepts")
    if type(version) is not int or version not in {_V1, _V2} or not isinstance(accepts, list):
        raise Invalid("The server asks for money, but not by x402 of version 1 or 2")
    demands = [each for accepted in accepts if (each := _demand(asked, version, accepted))]
    if not demands:
        raise Invalid("The server offers no way to pay that is known here")
    return demands


def _of_body(body: bytes) -> dict[str, Any]:
    try:
        asked = msgspec.json.decode(body.decode()) if len(body) <= BODY_BYTES_MAX else None
    except (ValueError, RecursionError):
        asked = None
    return asked if isinstance(asked, dict) else {}


def _demand(asked: dict[str, Any], version: int, accepted: object) -> Demand | None:
    """One offer; None where its scheme or network is not known."""
    try:
        offer = parse_offer(accepted, version)
    except PaymentRefused:
        return None
    if offer.scheme != "exact" or not isinstance(accepted, dict):
        return None
    name = str(accepted["network"])
    return Demand(version, offer, name, accepted, asked.get("resource"), asked.get("extensions"))
