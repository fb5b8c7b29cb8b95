"""The published Python x402 package pays here, and reads what is written here."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from eth_account import Account
from eth_account.signers.local import LocalAccount
from x402 import parse_payment_payload, parse_payment_required, x402Client, x402ClientSync
from x402.http import (
    FacilitatorConfig,
    HTTPFacilitatorClient,
    decode_payment_required_header,
    decode_payment_response_header,
    decode_payment_signature_header,
)
from x402.http.clients import wrapHttpxWithPayment, x402_requests
from x402.http.clients.httpx import PaymentError
from x402.mechanisms.evm.exact.register import register_exact_evm_client
from x402.schemas import PaymentPayload as TheirPayload
from x402.schemas import PaymentRequirements
from x402.schemas.v1 import PaymentPayloadV1, PaymentRequirementsV1

from dispatchd.api.facilitator import FacilitatorRoutes
from dispatchd.core.clock import SystemClock
from dispatchd.core.limits import Limits
from dispatchd.core.payment import Settlement
from dispatchd.payment import Ledger
from dispatchd.payment.codec import facilitator_request, response_headers
from dispatchd.payment.offer import required_body, required_header
from dispatchd.payment.simulated import SimulatedFacilitator
from dispatchd.payment.terms import requirements_v2
from dispatchd.payment.wallet import Wallet
from tests.payment.paying import (
    MONAD_USDC,
    NOW,
    OFFER,
    PAYER,
    RESOURCE,
    SELLER,
    STRANGER,
    paid,
    payment,
)
from tests.payment.serving import serving
from tests.payment.shop import Shop

ORDER = {"job_type": "TASK"}


def account(wallet: Wallet) -> LocalAccount:
    found: LocalAccount = Account.from_key(wallet._key.secret)
    return found


@pytest.fixture
async def box(ledger: Ledger) -> SimulatedFacilitator:
    """Published clients sign by the machine's clock."""
    await ledger.fund(MONAD_USDC.id, PAYER.address, 25_000)
    return SimulatedFacilitator(ledger, SystemClock(), [MONAD_USDC])


@pytest.fixture(params=[(1, 2), (2,), (1,)], ids=str)
async def shop(
    request: pytest.FixtureRequest, box: SimulatedFacilitator
) -> AsyncIterator[tuple[Shop, str]]:
    """A page for sale, with a 402 of both versions, and of either alone."""
    selling = Shop(box, *request.param)
    app = web.Application()
    app.router.add_post("/page", selling.serve)
    async with serving(app) as url:
        yield selling, f"{url}/page"


async def test_the_httpx_client_buys(shop: tuple[Shop, str], ledger: Ledger) -> None:
    selling, url = shop
    client = register_exact_evm_client(x402Client(), account(PAYER))  # type: ignore[arg-type] # it wraps eth-account's
    async with wrapHttpxWithPayment(client) as http:
        reply = await http.post(url, json=ORDER)
    assert reply.status_code == 200
    assert json.loads(reply.json()["sent"]) == ORDER
    settled = decode_payment_response_header(reply.headers["PAYMENT-RESPONSE"])
    assert (settled.success, settled.network) == (True, OFFER.network)
    assert settled.payer == PAYER.address.lower()
    assert await ledger.balance(MONAD_USDC.id, SELLER.address) == 10_000
    assert selling.versions == [1 if 2 not in selling._speaks else 2]


async def test_the_requests_client_buys(shop: tuple[Shop, str], ledger: Ledger) -> None:
    _, url = shop

    def buy() -> Any:
        client = register_exact_evm_client(x402ClientSync(), account(PAYER))  # type: ignore[arg-type] # it wraps eth-account's
        with x402_requests(client) as http:
            return http.post(url, json=ORDER)

    reply = await asyncio.to_thread(buy)
    assert reply.status_code == 200
    assert json.loads(reply.json()["sent"]) == ORDER
    assert await ledger.balance(MONAD_USDC.id, SELLER.address) == 10_000


async def test_a_poor_client_is_told_why(shop: tuple[Shop, str], ledger: Ledger) -> None:
    selling, url = shop
    client = register_exact_evm_client(x402Client(), account(STRANGER))  # type: ignore[arg-type] # it wraps eth-account's
    async with wrapHttpxWithPayment(client) as http:
        reply = await http.post(url, json=ORDER)
    assert reply.status_code == 402
    assert reply.json()["error"] == "insufficient_funds"
    for name in ("PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"):
        refused = decode_payment_response_header(reply.headers[name])
        assert (refused.success, refused.error_reason) == (False, "insufficient_funds")
    assert len(selling.versions) == 1
    assert await ledger.balance(MONAD_USDC.id, SELLER.address) == 0


async def test_version_1_by_its_caip2_name_is_no_network_to_that_client(
    box: SimulatedFacilitator,
) -> None:
    """Why a request may ask for the older names."""

    async def sell(_: web.Request) -> web.Response:
        return web.Response(status=402, body=required_body([OFFER], RESOURCE, "x"))

    app = web.Application()
    app.router.add_post("/page", sell)
    client = register_exact_evm_client(x402Client(), account(PAYER))  # type: ignore[arg-type] # it wraps eth-account's
    async with serving(app) as url, wrapHttpxWithPayment(client) as http:
        with pytest.raises(PaymentError, match="match registered schemes"):
            await http.post(f"{url}/page", json=ORDER)


def test_their_parser_reads_our_402() -> None:
    header = decode_payment_required_header(required_header([OFFER], RESOURCE, "Fast"))
    assert header.x402_version == 2
    assert header.accepts[0].model_dump(by_alias=True) == requirements_v2(OFFER)
    body = parse_payment_required(required_body([OFFER], RESOURCE, "Fast", "insufficient_funds"))
    assert (body.x402_version, body.error) == (1, "insufficient_funds")
    assert body.accepts[0].get_amount() == "10000"


def test_their_parser_reads_our_payments() -> None:
    newer = decode_payment_signature_header(PAYER.sign(OFFER, 2, NOW, nonce=bytes(32)))
    assert isinstance(newer, TheirPayload)
    assert newer.accepted.model_dump(by_alias=True) == requirements_v2(OFFER)
    older = decode_payment_signature_header(PAYER.sign(OFFER, 1, NOW, nonce=bytes(32)))
    assert isinstance(older, PaymentPayloadV1)
    assert older.network == "monad-testnet"
    assert parse_payment_payload(json.dumps(payment()).encode()).x402_version == 2


def test_their_parser_reads_how_it_ended() -> None:
    settled = Settlement(success=True, network=OFFER.network, payer="0xab", transaction="0xcd")
    refused = Settlement(success=False, network=OFFER.network, reason="invalid_payload")
    for ended in (settled, refused):
        for value in response_headers(ended, "monad-testnet").values():
            theirs = decode_payment_response_header(value)
            assert (theirs.success, theirs.error_reason) == (ended.success, ended.reason)
            assert theirs.transaction == (ended.transaction or "")


@pytest.mark.parametrize("version", [1, 2])
async def test_their_servers_can_use_our_facilitator(version: int, ledger: Ledger) -> None:
    await ledger.fund(MONAD_USDC.id, PAYER.address, 10_000)
    box = SimulatedFacilitator(ledger, SystemClock(), [MONAD_USDC])
    app = web.Application()
    FacilitatorRoutes(box, ledger, [MONAD_USDC], Limits()).add_to(app.router)
    now = SystemClock().now() // 1000
    asked = json.loads(facilitator_request(paid(version, now=now), OFFER, RESOURCE))
    theirs: tuple[Any, Any] = (
        (TheirPayload, PaymentRequirements)
        if version == 2
        else (PaymentPayloadV1, PaymentRequirementsV1)
    )
    payload = theirs[0].model_validate(asked["paymentPayload"])
    wanted = theirs[1].model_validate(asked["paymentRequirements"])
    async with (
        serving(app) as url,
        HTTPFacilitatorClient(FacilitatorConfig(url=f"{url}/facilitator")) as client,
    ):
        verified = await client.verify(payload, wanted)
        assert (verified.is_valid, verified.payer) == (True, PAYER.address.lower())
        settled = await client.settle(payload, wanted)
        assert (settled.success, len(settled.transaction)) == (True, 66)
        again = await client.verify(payload, wanted)
        assert (again.is_valid, again.invalid_reason) == (
            False,
            "invalid_exact_evm_nonce_already_used",
        )
        kinds = (await asyncio.to_thread(client.get_supported)).kinds
        assert {kind.x402_version for kind in kinds} == {1, 2}
