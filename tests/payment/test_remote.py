"""A facilitator behind HTTP: clear answers are believed, everything else is no answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dispatchd.core.errors import FacilitatorAway, Unusable
from dispatchd.core.payment import Settlement, Verdict
from dispatchd.payment import Kind
from dispatchd.payment.remote import ANSWER_BYTES_MAX, HttpFacilitator
from tests.payment.paying import OFFER, PAYER, STRANGER, paid, payment
from tests.payment.serving import serving

HASH = "0x" + "ab" * 32
SETTLED = {
    "success": True,
    "transaction": HASH,
    "network": "eip155:10143",
    "payer": PAYER.address,
}
SHORT_SECONDS = 0.05
JUNK: list[tuple[int, Any]] = [
    (200, b""), (200, b"OK"), (200, b"\xff"), (200, b"[]"), (200, b"{}"), (200, b"null"),
    (200, b"[" * 50_000), (200, {"isValid": "true", "success": "true"}),
    (200, b'{"isValid":true,"success":true,"x":"' + b"x" * ANSWER_BYTES_MAX + b'"}'),
    (204, b""), (301, b""), (307, b""), (400, b"Bad request"), (400, {"error": "no"}),
    (401, {"isValid": False, "success": False}), (404, {"isValid": False, "success": False}),
    (429, {"isValid": False, "success": False}), (500, {"isValid": False, "success": False}),
    (502, b"<html>"), (503, SETTLED | {"isValid": True}), (400, SETTLED | {"isValid": True}),
]  # fmt: skip


class Other:
    """A facilitator that answers what a test tells it to."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Any = {}
        self.hangs = False
        self.drops = False
        self.asked: list[tuple[str, Any]] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, await request.json() if request.can_read_body else None))
        if self.hangs:
            await asyncio.Event().wait()
        if self.drops and request.transport is not None:
            request.transport.abort()
        headers = {"Location": "/elsewhere"} if self.status // 100 == 3 else {}
        raw = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return web.Response(status=self.status, body=raw, headers=headers)


@pytest.fixture
def other() -> Other:
    return Other()


@pytest.fixture
async def facilitator(other: Other) -> AsyncIterator[HttpFacilitator]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", other.serve)
    async with serving(app) as url, aiohttp.ClientSession() as session:
        yield HttpFacilitator(
            f"{url}/facilitator/",
            session,
            verify_seconds=SHORT_SECONDS if other.hangs else 5,
            settle_seconds=SHORT_SECONDS if other.hangs else 5,
        )


@pytest.mark.parametrize("version", [1, 2])
async def test_it_is_asked_in_the_payments_version(
    version: int, other: Other, facilitator: HttpFacilitator
) -> None:
    other.answer = {"isValid": True, "payer": PAYER.address}
    verdict = await facilitator.verify(paid(version), OFFER)
    assert verdict == Verdict(valid=True, payer=PAYER.address.lower())
    ((path, asked),) = other.asked
    assert path == "/facilitator/verify"
    assert (asked["x402Version"], asked["paymentPayload"]) == (version, payment(version))


async def test_a_settlement(other: Other, facilitator: HttpFacilitator) -> None:
    for network in ("eip155:10143", "monad-testnet", ""):
        other.answer = SETTLED | {"network": network}
        assert await facilitator.settle(paid(), OFFER) == Settlement(
            success=True, network=OFFER.network, payer=PAYER.address.lower(), transaction=HASH
        )
    assert {path for path, _ in other.asked} == {"/facilitator/settle"}


@pytest.mark.parametrize("status", [200, 400, 402, 422])
async def test_a_refusal_is_a_refusal_whatever_its_status(
    status: int, other: Other, facilitator: HttpFacilitator
) -> None:
    other.status = status
    other.answer = {
        "isValid": False, "invalidReason": "insufficient_funds", "invalidMessage": "m" * 9999,
        "success": False, "errorReason": "invalid_transaction_state", "errorMessage": "reverted",
        "transaction": "", "network": "",
    }  # fmt: skip
    verdict = await facilitator.verify(paid(), OFFER)
    assert (verdict.valid, verdict.reason) == (False, "insufficient_funds")
    assert verdict.detail == "m" * 500
    settlement = await facilitator.settle(paid(), OFFER)
    assert (settlement.success, settlement.reason) == (False, "invalid_transaction_state")
    assert (settlement.transaction, settlement.detail) == (None, "reverted")


@pytest.mark.parametrize("said", [None, "", "no\r\nSet-Cookie: x", "x" * 101])
async def test_a_reason_that_is_no_code_becomes_one(
    said: str | None, other: Other, facilitator: HttpFacilitator
) -> None:
    other.answer = {"isValid": False, "invalidReason": said}
    assert (await facilitator.verify(paid(), OFFER)).reason == "unexpected_verify_error"


@pytest.mark.parametrize(("status", "answer"), JUNK, ids=lambda v: str(v)[:30])
async def test_what_is_not_clear_is_no_answer(
    status: int, answer: object, other: Other, facilitator: HttpFacilitator
) -> None:
    other.status, other.answer = status, answer
    with pytest.raises(FacilitatorAway):
        await facilitator.verify(paid(), OFFER)
    with pytest.raises(FacilitatorAway):
        await facilitator.settle(paid(), OFFER)
    with pytest.raises(FacilitatorAway):
        await facilitator.supported()
    assert len(other.asked) == 3  # nothing is sent where a redirect points


@pytest.mark.parametrize(
    "lie",
    [
        {"payer": STRANGER.address},
        {"network": "eip155:8453"},
        {"network": "base"},
        {"transaction": ""},
        {"transaction": None},
        {"success": False, "errorReason": "settlement_pending"},
        {"success": False, "errorReason": "unexpected_settle_error"},
        {"success": False, "errorReason": None},
        {"success": False, "payer": STRANGER.address, "errorReason": "insufficient_funds"},
    ],
    ids=str,
)
async def test_a_settlement_that_cannot_be_believed(
    lie: dict[str, Any], other: Other, facilitator: HttpFacilitator
) -> None:
    other.answer = SETTLED | lie
    with pytest.raises(FacilitatorAway):
        await facilitator.settle(paid(), OFFER)


async def test_a_verdict_on_somebody_else(other: Other, facilitator: HttpFacilitator) -> None:
    for valid in (True, False):
        other.answer = {"isValid": valid, "payer": STRANGER.address}
        with pytest.raises(FacilitatorAway, match="another payer"):
            await facilitator.verify(paid(), OFFER)


class TestSilence:
    """A facilitator that takes the question and never answers."""

    @pytest.fixture
    def other(self) -> Other:
        silent = Other()
        silent.hangs = True
        return silent

    async def test_the_wait_has_an_end(self, other: Other, facilitator: HttpFacilitator) -> None:
        for ask in (facilitator.verify(paid(), OFFER), facilitator.settle(paid(), OFFER)):
            with pytest.raises(FacilitatorAway, match=r"0\.05 s"):
                await ask
        assert len(other.asked) == 2


async def test_a_connection_that_breaks(other: Other, facilitator: HttpFacilitator) -> None:
    other.drops = True
    for ask in (facilitator.verify(paid(), OFFER), facilitator.settle(paid(), OFFER)):
        with pytest.raises(FacilitatorAway, match="reached"):
            await ask


async def test_nobody_is_there(unused_tcp_port: int) -> None:
    async with aiohttp.ClientSession() as session:
        away = HttpFacilitator(f"http://127.0.0.1:{unused_tcp_port}", session)
        for ask in (away.verify(paid(), OFFER), away.settle(paid(), OFFER), away.supported()):
            with pytest.raises(FacilitatorAway) as caught:
                await ask
            assert paid().signature.hex() not in str(caught.value)


async def test_kinds(other: Other, facilitator: HttpFacilitator) -> None:
    other.answer = {
        "kinds": [
            {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
            {"x402Version": 2, "scheme": "exact", "network": "eip155:84532", "extra": None},
            {"x402Version": 2, "scheme": "exact", "network": "atlantis"},
            {
                "x402Version": 2,
                "scheme": "exact",
                "network": "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
                "extra": {"feePayer": "F", "other": [1]},
            },
        ]
    }
    assert await facilitator.supported() == [
        Kind(1, "exact", "eip155:84532", {}),
        Kind(2, "exact", "eip155:84532", {}),
        Kind(2, "exact", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", {"feePayer": "F"}),
    ]


@pytest.mark.parametrize("url", ["", "x402.org", "ftp://x402.org", "http://", "http://[", "/a",
                                 "https://h/?key=1"])  # fmt: skip
async def test_an_address_that_is_none(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Unusable, match="facilitator"):
            HttpFacilitator(url, session)
