"""The facilitator in the box over HTTP."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dispatchd.api.errors import errors_as_json
from dispatchd.api.facilitator import FacilitatorRoutes
from dispatchd.core.errors import FacilitatorAway
from dispatchd.core.limits import Limits
from dispatchd.payment import Ledger
from dispatchd.payment.codec import facilitator_request
from dispatchd.payment.remote import HttpFacilitator
from dispatchd.payment.simulated import SimulatedFacilitator
from tests.payment.paying import (
    BASE_USDC,
    MONAD_USDC,
    OFFER,
    PAYER,
    RESOURCE,
    SELLER,
    changed,
    paid,
    parsed,
    payment,
)
from tests.payment.serving import serving


@dataclass
class Box:
    """The routes on a port."""

    url: str
    http: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        async with self.http.request(method, f"{self.url}/facilitator/{path}", json=body) as reply:
            return reply.status, dict(json.loads(await reply.text()))

    async def fund(self, **wanted: object) -> tuple[int, dict[str, Any]]:
        return await self.ask("POST", "faucet", wanted)


@pytest.fixture
async def box(facilitator: SimulatedFacilitator, ledger: Ledger) -> AsyncIterator[Box]:
    app = web.Application()
    routes = FacilitatorRoutes(facilitator, ledger, [MONAD_USDC, BASE_USDC], Limits())
    routes.add_to(app.router)
    app.on_response_prepare.append(errors_as_json)
    async with serving(app) as url, aiohttp.ClientSession() as http:
        yield Box(url, http)


def question(version: int = 2) -> dict[str, Any]:
    return dict(json.loads(facilitator_request(paid(version), OFFER, RESOURCE)))


@pytest.mark.parametrize("version", [1, 2])
async def test_a_payment_from_faucet_to_settlement(version: int, box: Box) -> None:
    status, funded = await box.fund(address=PAYER.address, amount="25000")
    assert (status, funded["balance"], funded["simulated"]) == (200, "25000", True)
    assert (funded["network"], funded["asset"]) == (MONAD_USDC.network, MONAD_USDC.address)
    status, verdict = await box.ask("POST", "verify", question(version))
    assert (status, verdict["isValid"], verdict["payer"]) == (200, True, PAYER.address.lower())
    status, settled = await box.ask("POST", "settle", question(version))
    assert (status, settled["success"], settled["simulated"]) == (200, True, True)
    assert settled["network"] == ("monad-testnet" if version == 1 else "eip155:10143")
    assert settled["transaction"].startswith("0x")
    status, shown = await box.ask("GET", "balances")
    balances = {account["address"]: account["balance"] for account in shown["accounts"]}
    assert balances == {PAYER.address.lower(): "15000", SELLER.address.lower(): "10000"}
    assert shown["simulated"] is True


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("paymentPayload", ..., "invalid_payload"),
        ("x402Version", 1, "invalid_x402_version"),
        ("paymentRequirements.amount", ..., "invalid_payment_requirements"),
        ("paymentRequirements.network", "eip155:8453", "invalid_network"),
        ("paymentPayload.payload.signature", "0x00", "invalid_exact_evm_payload_signature"),
        ("paymentPayload.payload.signature", 7, "invalid_payload"),
        ("paymentRequirements.scheme", "exact", "insufficient_funds"),
    ],
)
async def test_a_refusal_is_an_answer(path: str, value: object, reason: str, box: Box) -> None:
    asked = changed(question(), path, value)
    status, verdict = await box.ask("POST", "verify", asked)
    assert (status, verdict["isValid"], verdict["invalidReason"]) == (200, False, reason)
    assert verdict["invalidMessage"]
    status, settled = await box.ask("POST", "settle", asked)
    assert (status, settled["success"], settled["errorReason"]) == (200, False, reason)
    assert (settled["transaction"], bool(settled["errorMessage"])) == ("", True)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"[" * 30_000])
async def test_junk_is_answered_too(body: bytes, box: Box) -> None:
    headers = {"Content-Type": "application/json"}
    for verb in ("verify", "settle"):
        url = f"{box.url}/facilitator/{verb}"
        async with box.http.post(url, data=body, headers=headers) as reply:
            assert reply.status in {200, 400}
            assert isinstance(await reply.json(), dict)


async def test_the_two_halves_understand_each_other(box: Box, ledger: Ledger) -> None:
    far = HttpFacilitator(f"{box.url}/facilitator", box.http)
    assert (await far.verify(paid(), OFFER)).reason == "insufficient_funds"
    assert (await far.settle(paid(), OFFER)).reason == "insufficient_funds"
    await ledger.fund(MONAD_USDC.id, PAYER.address, 10_000)
    for version in (1, 2):
        verdict = await far.verify(paid(version), OFFER)
        assert (verdict.valid, verdict.payer) == (True, PAYER.address.lower())
    first = await far.settle(paid(), OFFER)
    assert first.success
    assert await far.settle(paid(), OFFER) == first
    bad = parsed(changed(payment(), "payload.signature", "0x" + "ab" * 65))
    assert (await far.verify(bad, OFFER)).reason == "invalid_exact_evm_payload_signature"
    kinds = await far.supported()
    assert {(kind.version, kind.network) for kind in kinds} == {
        (version, token.network) for version in (1, 2) for token in (MONAD_USDC, BASE_USDC)
    }


async def test_supported_uses_each_versions_names(box: Box) -> None:
    status, said = await box.ask("GET", "supported")
    assert (status, said["simulated"]) == (200, True)
    assert [(kind["x402Version"], kind["network"]) for kind in said["kinds"]] == [
        (1, "monad-testnet"),
        (2, "eip155:10143"),
        (1, "base-sepolia"),
        (2, "eip155:84532"),
    ]


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"address": "bob"}, "address"),
        ({"address": "0x" + "0" * 40}, "address"),
        ({"address": 7}, "address"),
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": "1.5"}, "amount"),
        ({"amount": "+1"}, "amount"),
        ({"amount": "١"}, "amount"),
        ({"amount": "9" * 99_999}, "amount"),
        ({"amount": 2**63}, "amount"),
        ({"amount": str(2**256)}, "amount"),
        ({"network": "eip155:8453"}, "token"),
        ({"network": "nowhere"}, "token"),
        ({"asset": PAYER.address}, "token"),
    ],
    ids=lambda v: str(v)[:40],
)
async def test_the_faucet_names_what_is_wrong(
    wanted: dict[str, object], named: str, box: Box
) -> None:
    status, said = await box.fund(**({"address": PAYER.address, "amount": 1} | wanted))
    assert (status, said["code"]) == (400, "invalid")
    assert named in said["error"]
    assert (await box.ask("GET", "balances"))[1]["accounts"] == []


async def test_the_faucet_has_every_token(box: Box) -> None:
    for network in ("base-sepolia", "eip155:84532"):
        status, _ = await box.fund(address=PAYER.address, amount=5, network=network)
        assert status == 200
    await box.fund(address=PAYER.address, amount=1, asset=BASE_USDC.address.lower())
    query = f"balances?network=eip155:84532&address={PAYER.address}"
    _, shown = await box.ask("GET", query)
    assert shown["accounts"] == [{"address": PAYER.address, "balance": "11"}]
    _, shown = await box.ask("GET", f"balances?address={PAYER.address}")
    assert shown["accounts"] == [{"address": PAYER.address, "balance": "0"}]
    status, _ = await box.ask("GET", "balances?address=bob")
    assert status == 400


async def test_a_settlement_whose_answer_was_lost_is_asked_for_again(
    facilitator: SimulatedFacilitator, ledger: Ledger
) -> None:
    """It settled, and the line broke: the same payload again brings the same transaction."""
    await ledger.fund(MONAD_USDC.id, PAYER.address, 10_000)
    routes = FacilitatorRoutes(facilitator, ledger, [MONAD_USDC], Limits())
    lost: list[str] = []

    async def lose_the_first(request: web.Request, _: web.StreamResponse) -> None:
        if not lost and request.transport is not None:
            lost.append(request.path)
            request.transport.abort()

    app = web.Application()
    routes.add_to(app.router)
    app.on_response_prepare.append(lose_the_first)
    async with serving(app) as url, aiohttp.ClientSession() as http:
        far = HttpFacilitator(f"{url}/facilitator", http)
        with pytest.raises(FacilitatorAway):
            await far.settle(paid(), OFFER)
        settled = await far.settle(paid(), OFFER)
    assert lost == ["/facilitator/settle"]
    assert settled.success
    assert settled.transaction == await ledger.transaction_of(paid().key(OFFER))
    assert await ledger.balance(MONAD_USDC.id, SELLER.address) == 10_000
