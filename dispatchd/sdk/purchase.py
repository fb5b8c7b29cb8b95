"""One request to any x402 server, paid for once where that is asked for."""

import asyncio
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import aiohttp
from msgspec import Struct
from yarl import URL

from dispatchd.sdk import Bill, Payer, Payment
from dispatchd.sdk.errors import InvalidRequest, PaymentRequired, Unreachable
from dispatchd.sdk.http import REPLY_BYTES_MAX, Pace, Reply, reason_of
from dispatchd.sdk.outlay import Outlay, settlement_of
from dispatchd.wire.retry_after import retry_seconds

_PAYMENT_REQUIRED = 402
_TRANSIENT = frozenset({429, 502, 503, 504})
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_RETRY_AFTER_SECONDS_MAX = 30.0
_NONE: Mapping[str, str] = MappingProxyType({})


class Wish(Struct, frozen=True):
    """A request to some server."""

    method: str
    url: str
    body: bytes | None = None
    headers: Mapping[str, str] = _NONE

    def __repr__(self) -> str:
        """Without the headers, which may hold a payment."""
        return f"<{self.method} {self.url}>"


class Purchase(Struct, frozen=True):
    """What a server gave, and what was paid for it; `settlement` is what the server says of that.

    `payment` is None where the server asked for nothing.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    payment: Payment | None = None
    settlement: dict[str, Any] | None = None


async def purchase(
    session: aiohttp.ClientSession, wish: Wish, payer: Payer | None, pace: Pace | None = None
) -> Purchase:
    """The answer to a request, paid for where it is answered with 402.

    The unpaid request is sent once. A payment is signed once; where its answer is lost or the
    server is busy, the same payment is sent again with the same Idempotency-Key, since it moves
    money once at most. Redirects are not followed. Raises `PaymentError` and `Unreachable`.
    """
    address = _address(wish.url)
    first = await _once(session, wish, address)
    if first.status != _PAYMENT_REQUIRED:
        return first
    bill = Bill(first.headers, first.body.decode("utf-8", "replace"))
    if payer is None:
        sentence = f"{address.host} wants to be paid, and there is no payer"
        raise PaymentRequired(sentence, [], hint="Pay with --pay WALLET.")
    outlay = Outlay(payer, await payer.pay(bill))
    key = {"Idempotency-Key": str(uuid.uuid4())}
    paid = Wish(
        wish.method, wish.url, wish.body, key | dict(wish.headers) | dict(outlay.payment.headers)
    )
    got, doubted = await _insist(session, paid, address, outlay, pace or Pace())
    if got.status == _PAYMENT_REQUIRED:
        text = got.body.decode("utf-8", "replace")
        raise outlay.refused(Reply(got.status, got.headers, text, doubted))
    return Purchase(
        got.status, got.headers, got.body, outlay.payment, settlement_of(got.headers) or None
    )


async def _insist(
    session: aiohttp.ClientSession, paid: Wish, address: URL, outlay: Outlay, pace: Pace
) -> tuple[Purchase, bool]:
    """The answer to a paid request, and whether an earlier sending may have been acted upon."""
    doubted = False
    for pause in (*pace.waiting_retries, None):
        wait = 0.0
        try:
            got = await _once(session, paid, address)
        except Unreachable as failure:
            doubted = doubted or failure.uncertain
            if pause is None:
                raise _lost(failure, outlay, doubted=doubted) from None
        else:
            wait = retry_seconds(got.headers.get("Retry-After", ""))
            busy = got.status in _TRANSIENT and wait <= _RETRY_AFTER_SECONDS_MAX
            if pause is None or not busy:
                return got, doubted
            doubted = True
        await asyncio.sleep(max(pause, wait))
    raise AssertionError("the last pause is None")


def _lost(failure: Unreachable, outlay: Outlay, *, doubted: bool) -> Unreachable:
    """The failure, with what it means for the money."""
    if not doubted:
        outlay.returned()
        return failure
    sentence = f"{failure}; the payment was sent, and its fate is unknown"
    hint = "It may be taken still; paying again may pay twice."
    return Unreachable(sentence, uncertain=True, hint=hint)


async def _once(session: aiohttp.ClientSession, wish: Wish, address: URL) -> Purchase:
    try:
        async with session.request(
            wish.method,
            address,
            data=wish.body,
            headers=dict(wish.headers),
            # Whoever is redirected to must not get the payment.
            allow_redirects=False,
        ) as response:
            body = await response.content.read(REPLY_BYTES_MAX + 1)
            while len(body) <= REPLY_BYTES_MAX and (more := await response.content.readany()):
                body += more
            if len(body) > REPLY_BYTES_MAX:
                sentence = f"{address.host} answers with more than {REPLY_BYTES_MAX} bytes"
                raise Unreachable(sentence, uncertain=True)
            return Purchase(response.status, response.headers, body)
    except _NEVER_SENT as error:
        raise Unreachable(f"No answer from {address.origin()}: {reason_of(error)}") from None
    except (aiohttp.ClientError, OSError) as error:
        sentence = f"No answer from {address.origin()}: {reason_of(error)}"
        raise Unreachable(sentence, uncertain=True) from None


def _address(text: str) -> URL:
    try:
        url = URL(text)
        valid = url.scheme in {"http", "https"} and url.host and not any(map(str.isspace, text))
    except ValueError:
        valid = False
    if not valid:
        raise InvalidRequest(f"{text!r} is no address", hint="Use e.g. https://example.com/path.")
    return url
