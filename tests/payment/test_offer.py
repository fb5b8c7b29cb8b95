"""The 402 that everybody reads, and how a payer of ours reads those of others."""

import json
from typing import Any

import pytest

from dispatchd.core.errors import Invalid
from dispatchd.payment.demand import read_demands
from dispatchd.payment.offer import NEVER_KEPT, required_body, required_header
from dispatchd.payment.tokens import find_token
from tests.payment.paying import (
    BASE_USDC,
    NONCE,
    NOW,
    OFFER,
    PAYER,
    RESOURCE,
    SELLER,
    changed,
    packed,
    unpacked,
)

WHAT = "Fast compute job"
SOLANA_OFFER = find_token("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1").offer(
    10_000, "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM6", fee_payer="Fee1"
)


def body(*offers: Any, **options: Any) -> dict[str, Any]:
    return dict(json.loads(required_body(offers or [OFFER], RESOURCE, WHAT, **options)))


def test_the_header_is_version_2_to_the_letter() -> None:
    assert unpacked(required_header([OFFER], RESOURCE, WHAT)) == {
        "x402Version": 2,
        "error": "Payment required",
        "resource": {"url": RESOURCE, "description": WHAT, "mimeType": "application/json"},
        "accepts": [
            {
                "scheme": "exact",
                "network": "eip155:10143",
                "amount": "10000",
                "asset": "0x534b2f3A21130d7a60830c2Df862319e593943A3",
                "payTo": SELLER.address,
                "maxTimeoutSeconds": 1200,
                "extra": {"name": "USDC", "version": "2"},
            }
        ],
    }


def test_the_body_is_version_1_and_the_guides() -> None:
    assert list(body().items()) == [
        ("x402Version", 1),
        ("error", "X-PAYMENT header is required"),
        (
            "accepts",
            [
                {
                    "scheme": "exact",
                    "price": "$0.010",
                    "network": "eip155:10143",
                    "payTo": SELLER.address,
                    "asset": "0x534b2f3A21130d7a60830c2Df862319e593943A3",
                    "maxAmountRequired": "10000",
                    "amount": "10000",
                    "resource": RESOURCE,
                    "description": WHAT,
                    "mimeType": "application/json",
                    "maxTimeoutSeconds": 1200,
                    "extra": {"name": "USDC", "version": "2"},
                }
            ],
        ),
    ]


def test_a_refusal_says_its_reason_in_both_places() -> None:
    refused = body(error="insufficient_funds", detail="The payer has 0 of 10000")
    assert (refused["error"], refused["detail"]) == (
        "insufficient_funds",
        "The payer has 0 of 10000",
    )
    header = unpacked(required_header([OFFER], RESOURCE, WHAT, "insufficient_funds"))
    assert header["error"] == "insufficient_funds"


def test_older_clients_may_have_their_own_names() -> None:
    accepts = body(OFFER, BASE_USDC.offer(1, SELLER.address), SOLANA_OFFER, legacy_names=True)
    names = [offer["network"] for offer in accepts["accepts"]]
    assert names == ["monad-testnet", "base-sepolia", "solana-devnet"]
    unnamed = find_token("eip155:999", f"{OFFER.asset}:X:1").offer(1, SELLER.address)
    assert body(unnamed, legacy_names=True)["accepts"][0]["network"] == "eip155:999"


def test_nothing_keeps_a_402_and_scripts_may_read_it() -> None:
    assert NEVER_KEPT["Cache-Control"] == "no-store"
    exposed = NEVER_KEPT["Access-Control-Expose-Headers"].split(", ")
    assert exposed == ["PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"]


def test_our_payer_reads_our_402_by_header_and_by_body() -> None:
    header = {"payment-required": required_header([OFFER, SOLANA_OFFER], RESOURCE, WHAT)}
    two = read_demands(header, b"ignored")
    assert [demand.offer for demand in two] == [OFFER, SOLANA_OFFER]
    assert two[0].version == 2
    (one,) = read_demands({}, required_body([OFFER], RESOURCE, WHAT, legacy_names=True))
    assert (one.version, one.offer, one.network_name) == (1, OFFER, "monad-testnet")


def test_a_server_gets_its_own_words_back() -> None:
    offer = unpacked(required_header([OFFER], RESOURCE, WHAT))
    offer = changed(offer, "resource.tags", ["a"]) | {"extensions": {"x": {"info": 1}}}
    offer["accepts"][0]["extra"]["more"] = 7
    (demand,) = read_demands({"PAYMENT-REQUIRED": packed(offer)}, b"")
    name, value = PAYER.pay(demand, NOW, nonce=NONCE)
    sent = unpacked(value)
    assert name == "PAYMENT-SIGNATURE"
    assert sent["accepted"] == offer["accepts"][0]
    assert (sent["resource"], sent["extensions"]) == (offer["resource"], offer["extensions"])
    (older,) = read_demands({}, required_body([OFFER], RESOURCE, WHAT))
    name, value = PAYER.pay(older, NOW, nonce=NONCE)
    assert (name, unpacked(value)["network"]) == ("X-PAYMENT", "eip155:10143")


def test_offers_that_are_not_understood_are_passed_over() -> None:
    offer = unpacked(required_header([OFFER], RESOURCE, WHAT))
    strange = [7, {}, changed(offer["accepts"][0], "scheme", "upto")]
    header = {"PAYMENT-REQUIRED": packed(offer | {"accepts": [*strange, *offer["accepts"]]})}
    assert [demand.offer for demand in read_demands(header, b"")] == [OFFER]
    with pytest.raises(Invalid):
        read_demands({"PAYMENT-REQUIRED": packed(offer | {"accepts": strange})}, b"")


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, b""),
        ({}, b"Payment required"),
        ({}, b"\xff"),
        ({}, b"[" * 30_000),
        ({}, required_body([OFFER] * 200, RESOURCE, WHAT)),
        ({}, b'{"x402Version":3,"accepts":[]}'),
        ({}, b'{"x402Version":1,"accepts":{}}'),
        ({"PAYMENT-REQUIRED": "junk"}, required_body([OFFER], RESOURCE, WHAT)),
    ],
)
def test_a_402_of_another_kind(headers: dict[str, str], text: bytes) -> None:
    with pytest.raises(Invalid):
        read_demands(headers, text)
