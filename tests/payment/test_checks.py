"""Every field of a payment changed one at a time, and the oracle asked about the signature."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import Offer
from dispatchd.payment.checks import check_authorization
from tests.payment import oracle
from tests.payment.paying import (
    BASE_USDC,
    NOW,
    OFFER,
    PAYER,
    SELLER,
    STRANGER,
    changed,
    paid,
    parsed,
    payment,
)

AUTH = "payload.authorization"
SIGNATURE = "invalid_exact_evm_payload_signature"
RECIPIENT = "invalid_exact_evm_payload_recipient_mismatch"
VALUE = "invalid_exact_evm_payload_authorization_value_mismatch"
AFTER = "invalid_exact_evm_payload_authorization_valid_after"
BEFORE = "invalid_exact_evm_payload_authorization_valid_before"
REQUIREMENTS = "invalid_payment_requirements"


def reason_of(
    value: dict[str, Any], offer: Offer = OFFER, now: int = NOW, min_left: int = 900
) -> str | None:
    """The code with which a payment is refused; None if it is good."""
    try:
        check_authorization(parsed(value), offer, now, min_left)
    except PaymentRefused as refused:
        return refused.reason if refused.detail else "no detail"
    return None


@pytest.mark.parametrize("version", [1, 2])
def test_a_good_payment_is_good(version: int) -> None:
    assert reason_of(payment(version)) is None
    assert oracle.signer_of(payment(version), OFFER) == PAYER.address.lower()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (f"{AUTH}.from", STRANGER.address, SIGNATURE),
        (f"{AUTH}.to", STRANGER.address, RECIPIENT),
        (f"{AUTH}.value", "9999", VALUE),
        (f"{AUTH}.value", "10001", VALUE),
        (f"{AUTH}.value", str(2**256 - 1), VALUE),
        (f"{AUTH}.validAfter", "1", SIGNATURE),
        (f"{AUTH}.validAfter", str(NOW + 1), AFTER),
        (f"{AUTH}.validBefore", str(NOW + 899), BEFORE),
        (f"{AUTH}.validBefore", str(NOW + 1201), SIGNATURE),
        (f"{AUTH}.validBefore", "0", BEFORE),
        (f"{AUTH}.nonce", "0x" + "ab" * 32, SIGNATURE),
        ("payload.signature", payment(wallet=STRANGER)["payload"]["signature"], SIGNATURE),
        ("x402Version", 3, "invalid_x402_version"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_one_changed_field_is_refused_by_its_code(
    version: int, path: str, value: object, reason: str
) -> None:
    bad = changed(payment(version), path, value)
    assert reason_of(bad) == reason
    if path != "x402Version":
        holds = oracle.signer_of(bad, OFFER) == bad["payload"]["authorization"]["from"].lower()
        assert not holds


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("accepted.scheme", "upto", "invalid_scheme"),
        ("accepted.network", "eip155:84532", "invalid_network"),
        ("accepted.network", "monad-testnet", "invalid_network"),
        ("accepted.asset", BASE_USDC.address, REQUIREMENTS),
        ("accepted.amount", "9999", REQUIREMENTS),
        ("accepted.payTo", STRANGER.address, REQUIREMENTS),
        ("accepted.maxTimeoutSeconds", 1201, REQUIREMENTS),
        ("accepted.extra.name", "USD Coin", REQUIREMENTS),
        ("accepted.extra.version", "1", REQUIREMENTS),
        ("accepted.extra.version", ..., REQUIREMENTS),
        ("accepted.extra", None, REQUIREMENTS),
        ("accepted.extra.more", "is fine", None),
        ("accepted.outputSchema", {}, None),
        ("accepted.asset", OFFER.asset.lower(), None),
        ("resource", ..., None),
        ("resource.url", "http://elsewhere/", None),
    ],
)
def test_what_version_2_repeats_is_compared_with_the_offer(
    path: str, value: object, reason: str | None
) -> None:
    assert reason_of(changed(payment(2), path, value)) == reason


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("scheme", "upto", "invalid_scheme"),
        ("network", "base-sepolia", "invalid_network"),
        ("network", "eip155:84532", "invalid_network"),
        ("network", "nowhere", "invalid_network"),
        ("network", "eip155:10143", None),
    ],
)
def test_what_version_1_repeats(path: str, value: object, reason: str | None) -> None:
    assert reason_of(changed(payment(1), path, value)) == reason


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (replace(OFFER, amount=3_000), VALUE),
        (replace(OFFER, pay_to=STRANGER.address), RECIPIENT),
        (BASE_USDC.offer(10_000, SELLER.address), "invalid_network"),
        (replace(OFFER, scheme="upto"), "invalid_scheme"),
    ],
)
def test_a_payment_for_another_offer(version: int, offer: Offer, reason: str) -> None:
    assert reason_of(payment(version), offer) == reason


@pytest.mark.parametrize(
    "offer",
    [
        replace(OFFER, asset=BASE_USDC.address),
        replace(OFFER, extra={"name": "USDC", "version": "1"}),
        replace(OFFER, extra={"name": "USD Coin", "version": "2"}),
    ],
)
def test_a_signature_for_another_token(offer: Offer) -> None:
    assert reason_of(payment(1), offer) == SIGNATURE
    assert oracle.signer_of(payment(1), offer) != PAYER.address.lower()


def test_an_offer_without_a_domain_can_be_paid_by_nobody() -> None:
    assert reason_of(payment(1), replace(OFFER, extra={})) == REQUIREMENTS


@pytest.mark.parametrize(
    ("now", "min_left", "reason"),
    [
        (NOW + 300, 900, None),
        (NOW + 301, 900, BEFORE),
        (NOW + 1199, 0, None),
        (NOW + 1200, 0, BEFORE),
        (NOW - 10_000, 900, None),
    ],
)
def test_the_window_ends_to_the_second(now: int, min_left: int, reason: str | None) -> None:
    assert reason_of(payment(), now=now, min_left=min_left) == reason


def test_a_contracts_signature_is_refused_unless_somebody_can_ask_the_contract() -> None:
    long = changed(payment(), "payload.signature", "0x" + "ab" * 200)
    assert reason_of(long) == SIGNATURE
    check_authorization(parsed(long), OFFER, NOW, contract_wallets=True)
    forged = changed(payment(), "payload.signature", "0x" + "ab" * 65)
    with pytest.raises(PaymentRefused, match=SIGNATURE):
        check_authorization(parsed(forged), OFFER, NOW, contract_wallets=True)


@given(st.data())
def test_no_single_changed_byte_of_a_signature_holds(data: st.DataObject) -> None:
    good = paid()
    at = data.draw(st.integers(0, 64))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != good.signature[at]))
    if at == 64 and byte % 27 == good.signature[at] % 27 and byte in {0, 1, 27, 28}:
        return  # the same v written in the other way
    bad = replace(good, signature=good.signature[:at] + bytes([byte]) + good.signature[at + 1 :])
    with pytest.raises(PaymentRefused, match=SIGNATURE):
        check_authorization(bad, OFFER, NOW)
