"""The facilitator in the box: real checks, play money, each authorization once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dispatchd.core.errors import FacilitatorAway, Unusable
from dispatchd.core.payment import Offer
from dispatchd.payment import Kind, Ledger
from dispatchd.payment.simulated import SimulatedFacilitator
from dispatchd.payment.tokens import TOKENS, find_token
from dispatchd.payment.wallets import (
    FUNDED_ATOMIC,
    development_wallets,
    fund_development_wallets,
)
from dispatchd.store.sqlite.store import open_sqlite
from tests.payment.paying import (
    BASE_USDC,
    MONAD_USDC,
    NOW,
    OFFER,
    PAYER,
    SELLER,
    STRANGER,
    changed,
    high_s_twin,
    paid,
    parsed,
    payment,
)
from tests.support.clock import FakeClock

HAVE = 25_000
USED = "invalid_exact_evm_nonce_already_used"


@pytest.fixture(autouse=True)
async def _funded(ledger: Ledger) -> None:
    await ledger.fund(MONAD_USDC.id, PAYER.address, HAVE)


async def held(ledger: Ledger) -> tuple[int, int]:
    """What payer and seller have."""
    payer = await ledger.balance(MONAD_USDC.id, PAYER.address)
    return payer, await ledger.balance(MONAD_USDC.id, SELLER.address)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_good_payment_is_taken_once(
    version: int, facilitator: SimulatedFacilitator, ledger: Ledger
) -> None:
    good = paid(version)
    verdict = await facilitator.verify(good, OFFER)
    assert (verdict.valid, verdict.payer, verdict.reason) == (True, PAYER.address.lower(), None)
    assert await held(ledger) == (HAVE, 0)
    first = await facilitator.settle(good, OFFER)
    assert (first.success, first.network, first.payer) == (True, OFFER.network, good.payer)
    assert first.transaction is not None
    assert len(bytes.fromhex(first.transaction.removeprefix("0x"))) == 32
    assert await facilitator.settle(good, OFFER) == first
    assert await held(ledger) == (HAVE - 10_000, 10_000)
    assert (await facilitator.verify(good, OFFER)).reason == USED


async def test_settling_again_is_safe_long_after(
    facilitator: SimulatedFacilitator, ledger: Ledger, clock: FakeClock
) -> None:
    first = await facilitator.settle(paid(), OFFER)
    clock.advance(10_000)
    assert await facilitator.settle(paid(), OFFER) == first
    late = await facilitator.settle(paid(nonce=bytes(32)), OFFER)
    assert late.reason == "invalid_exact_evm_payload_authorization_valid_before"
    assert late.transaction is None
    assert await held(ledger) == (HAVE - 10_000, 10_000)


async def test_another_authorization_with_that_nonce_is_refused(
    facilitator: SimulatedFacilitator, ledger: Ledger
) -> None:
    await facilitator.settle(paid(), OFFER)
    other = paid(now=NOW - 1)
    for said in (await facilitator.verify(other, OFFER), await facilitator.settle(other, OFFER)):
        assert said.reason == USED
    expired = await facilitator.settle(paid(now=NOW - 1200), OFFER)
    assert expired.reason == "invalid_exact_evm_payload_authorization_valid_before"
    dearer = await facilitator.settle(paid(), replace(OFFER, amount=20_000))
    assert dearer.reason == "invalid_exact_evm_payload_authorization_value_mismatch"
    assert await held(ledger) == (HAVE - 10_000, 10_000)


async def test_fifty_at_once_pay_once(facilitator: SimulatedFacilitator, ledger: Ledger) -> None:
    every = [facilitator.settle(paid(1 + n % 2), OFFER) for n in range(50)]
    ended = await asyncio.gather(*every)
    assert len({settlement.transaction for settlement in ended}) == 1
    assert all(settlement.success for settlement in ended)
    assert await held(ledger) == (HAVE - 10_000, 10_000)


async def test_a_wallet_can_be_drained_and_filled(
    facilitator: SimulatedFacilitator, ledger: Ledger
) -> None:
    payments = [paid(nonce=bytes([n]) * 32) for n in range(3)]
    ended = [await facilitator.settle(each, OFFER) for each in payments]
    assert [each.success for each in ended] == [True, True, False]
    verdict = await facilitator.verify(payments[2], OFFER)
    assert (ended[2].reason, verdict.reason) == ("insufficient_funds", "insufficient_funds")
    assert verdict.detail == "The payer has 5000 of 10000"
    await ledger.fund(MONAD_USDC.id, PAYER.address, 5_000)
    assert (await facilitator.settle(payments[2], OFFER)).success
    assert await held(ledger) == (0, 30_000)


SIGNED = payment()
BAD: list[tuple[dict[str, Any], Offer, str]] = [
    (changed(SIGNED, "payload.signature", high_s_twin(SIGNED["payload"]["signature"])), OFFER,
     "invalid_exact_evm_payload_signature"),
    (payment(wallet=STRANGER), OFFER, "insufficient_funds"),
    (changed(SIGNED, "payload.authorization.from", STRANGER.address), OFFER,
     "invalid_exact_evm_payload_signature"),
    (payment(now=NOW - 1200), OFFER, "invalid_exact_evm_payload_authorization_valid_before"),
    (changed(SIGNED, "payload.authorization.validAfter", str(NOW + 1)), OFFER,
     "invalid_exact_evm_payload_signature"),
    (SIGNED, replace(OFFER, pay_to=STRANGER.address),
     "invalid_exact_evm_payload_recipient_mismatch"),
    (SIGNED, replace(OFFER, amount=9_999),
     "invalid_exact_evm_payload_authorization_value_mismatch"),
    (SIGNED, replace(OFFER, network="eip155:84532"), "invalid_payment_requirements"),
    (SIGNED, replace(OFFER, network="eip155:8453"), "invalid_network"),
    (SIGNED, BASE_USDC.offer(10_000, SELLER.address), "invalid_network"),
    (SIGNED, replace(OFFER, asset=BASE_USDC.address), "invalid_payment_requirements"),
    (SIGNED, replace(OFFER, extra={"name": "USDC", "version": "1"}),
     "invalid_payment_requirements"),
    (SIGNED, replace(OFFER, pay_to="0x" + "0" * 40), "invalid_payment_requirements"),
    (SIGNED, replace(OFFER, scheme="upto"), "invalid_scheme"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "offer", "reason"), BAD, ids=lambda v: str(v)[:30])
async def test_a_bad_payment_moves_nothing(
    value: dict[str, Any],
    offer: Offer,
    reason: str,
    facilitator: SimulatedFacilitator,
    ledger: Ledger,
) -> None:
    verdict = await facilitator.verify(parsed(value), offer)
    assert (verdict.valid, verdict.reason) == (False, reason)
    settlement = await facilitator.settle(parsed(value), offer)
    assert (settlement.success, settlement.reason) == (False, reason)
    assert await held(ledger) == (HAVE, 0)


@pytest.mark.parametrize(
    "token",
    [t for t in TOKENS if not t.testnet or t.network.startswith("solana")]
    + [find_token("eip155:31337", f"{MONAD_USDC.address}:USDC:2")],
    ids=str,
)
async def test_it_refuses_to_play_with_real_money(
    token: Any, ledger: Ledger, clock: FakeClock
) -> None:
    with pytest.raises(Unusable, match=token.network):
        SimulatedFacilitator(ledger, clock, [MONAD_USDC, token])


async def test_it_says_what_it_takes(facilitator: SimulatedFacilitator) -> None:
    assert await facilitator.supported() == [
        Kind(version, "exact", network, {})
        for network in ("eip155:10143", "eip155:84532")
        for version in (1, 2)
    ]


async def test_the_development_wallets_are_funded_once(
    facilitator: SimulatedFacilitator, ledger: Ledger
) -> None:
    for _ in range(2):
        await fund_development_wallets(ledger, MONAD_USDC)
    accounts = dict(await ledger.accounts(MONAD_USDC.id))
    assert accounts.pop(PAYER.address.lower()) == HAVE
    assert accounts == {
        wallet.address.lower(): FUNDED_ATOMIC
        for wallet in development_wallets()
        if wallet is not PAYER
    }


async def test_without_its_ledger_it_is_away(tmp_path: Path, clock: FakeClock) -> None:
    async with open_sqlite(tmp_path / "closed.sqlite3") as store:
        closed = SimulatedFacilitator(store.ledger, clock, [MONAD_USDC])
    for ask in (closed.verify(paid(), OFFER), closed.settle(paid(), OFFER)):
        with pytest.raises(FacilitatorAway, match="closed"):
            await ask
