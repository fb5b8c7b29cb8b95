"""A facilitator behind HTTP. An answer that is not clear is no answer: `FacilitatorAway`."""

import re
from functools import partial
from typing import Any, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from dispatchd.core.address import http_address
from dispatchd.core.errors import FacilitatorAway, Unusable
from dispatchd.core.payment import Offer, Reason, Settlement, Verdict
from dispatchd.payment import Kind
from dispatchd.payment.chains import caip2_of
from dispatchd.payment.codec import facilitator_request
from dispatchd.payment.payload import PaymentPayload

_T = TypeVar("_T")

VERIFY_SECONDS = 5.0
SETTLE_SECONDS = 30.0
ANSWER_BYTES_MAX = 64 * 1024
_DETAIL_CHARS_MAX = 500
_SERVER_ERROR = 500
_OK, _REDIRECT, _REFUSED = 200, 300, 400
_NOT_OF_THE_PAYMENT = frozenset({401, 403, 404, 405, 408, 425, 429})
"""Refusals of who asks, or where or how often: no answer to what was asked."""
_CODE = re.compile(r"[A-Za-z0-9_]{1,100}")
_UNCLEAR = frozenset({Reason.PENDING, Reason.SETTLE_ERROR})
"""Said of a transaction that may yet be, or come to be, on the chain."""


class _Verified(Struct, rename="camel"):
    is_valid: bool
    invalid_reason: str | None = None
    invalid_message: str | None = None
    payer: str | None = None


class _Settled(Struct, rename="camel"):
    success: bool
    error_reason: str | None = None
    error_message: str | None = None
    transaction: str | None = None
    network: str | None = None
    payer: str | None = None


class _KindJson(Struct, rename={"version": "x402Version"}):
    version: int
    scheme: str
    network: str
    extra: dict[str, Any] | None = None


class _Supported(Struct):
    kinds: list[_KindJson]


class HttpFacilitator:
    """`Facilitator` at an address, on a session that somebody else opens and closes.

    `resource_url` is what version 1 wants to be told of; it decides nothing.
    """

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        *,
        resource_url: str = "http://localhost/v1/jobs",
        verify_seconds: float = VERIFY_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._base = _base_of(url)
        self._session = session
        self._resource_url = resource_url
        self._verify_seconds = verify_seconds
        self._settle_seconds = settle_seconds

    async def verify(self, payload: PaymentPayload, offer: Offer) -> Verdict:
        """Asks whether a payment is good."""
        body = facilitator_request(payload, offer, self._resource_url)
        found = await self._ask("POST", "verify", _Verified, self._verify_seconds, body)
        _same_payer(found.payer, payload)
        return Verdict(
            valid=found.is_valid,
            payer=payload.payer or found.payer,
            reason=None if found.is_valid else _code(found.invalid_reason, Reason.VERIFY_ERROR),
            detail=None if found.is_valid else _short(found.invalid_message),
        )

    async def settle(self, payload: PaymentPayload, offer: Offer) -> Settlement:
        """Asks for the money to be moved."""
        body = facilitator_request(payload, offer, self._resource_url)
        found = await self._ask("POST", "settle", _Settled, self._settle_seconds, body)
        _same_payer(found.payer, payload)
        ended = partial(Settlement, network=offer.network, payer=payload.payer or found.payer)
        if not found.success:
            reason = _code(found.error_reason, Reason.SETTLE_ERROR)
            if reason in _UNCLEAR:
                raise FacilitatorAway(f"The facilitator does not know yet: {reason}.")
            return ended(success=False, reason=reason, detail=_short(found.error_message))
        if found.network and caip2_of(found.network) != offer.network:
            raise FacilitatorAway("The facilitator speaks of a payment on another network.")
        if not found.transaction:
            raise FacilitatorAway("The facilitator names no transaction.")
        return ended(success=True, transaction=found.transaction)

    async def supported(self) -> list[Kind]:
        """Asks what kinds of payment it takes; those on networks of no known name are left out."""
        found = await self._ask("GET", "supported", _Supported, self._verify_seconds)
        return [
            Kind(kind.version, kind.scheme, network, _texts(kind.extra))
            for kind in found.kinds
            if (network := caip2_of(kind.network)) is not None
        ]

    async def _ask(
        self, method: str, verb: str, shape: type[_T], seconds: float, body: bytes | None = None
    ) -> _T:
        try:
            async with self._session.request(
                method,
                f"{self._base}/{verb}",
                data=body,
                headers={"Content-Type": "application/json"} if body else None,
                # What is redirected is a signature that moves money.
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as reply:
                text = await _limited(reply)
        except TimeoutError:
            raise FacilitatorAway(f"The facilitator did not {verb} in {seconds:g} s.") from None
        except (aiohttp.ClientError, OSError) as error:
            kind = type(error).__name__
            raise FacilitatorAway(f"The facilitator cannot be reached: {kind}.") from None
        return _parsed(text, reply.status, shape)


def _parsed(text: bytes, status: int, shape: type[_T]) -> _T:
    """A clear answer: a success, or a refusal with what it refuses; never a promise with a 4xx."""
    answered = _OK <= status < _REDIRECT or _REFUSED <= status < _SERVER_ERROR
    if not answered or status in _NOT_OF_THE_PAYMENT:
        raise FacilitatorAway(f"The facilitator answers {status}.")
    try:
        found = msgspec.json.decode(text, type=shape)
    except (ValueError, RecursionError):
        raise FacilitatorAway(f"The facilitator's answer ({status}) cannot be read.") from None
    promised = getattr(found, "is_valid", False) or getattr(found, "success", False)
    if status >= _REFUSED and (promised or isinstance(found, _Supported)):
        raise FacilitatorAway(f"The facilitator answers {status}, and contradicts itself.")
    return found


async def _limited(reply: aiohttp.ClientResponse) -> bytes:
    text = bytearray()
    async for chunk in reply.content.iter_any():
        text += chunk
        if len(text) > ANSWER_BYTES_MAX:
            raise FacilitatorAway(
                f"The facilitator's answer is longer than {ANSWER_BYTES_MAX} bytes."
            )
    return bytes(text)


def _same_payer(said: str | None, payload: PaymentPayload) -> None:
    """An answer about somebody else is none about this payment."""
    if said and payload.payer and said.lower() != payload.payer:
        raise FacilitatorAway("The facilitator speaks of another payer.")


def _code(said: str | None, otherwise: Reason) -> str:
    return said if said and _CODE.fullmatch(said) else otherwise


def _short(said: str | None) -> str | None:
    return (said or "")[:_DETAIL_CHARS_MAX] or None


def _texts(extra: dict[str, Any] | None) -> dict[str, str]:
    return {name: value for name, value in (extra or {}).items() if isinstance(value, str)}


def _base_of(text: str) -> str:
    address = http_address(text)
    if address is None:
        raise Unusable(f"{text!r} is no facilitator's address. Use e.g. https://HOST/facilitator.")
    return address
