"""Headers become payments or refusals with a code, whatever they hold."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import Settlement
from dispatchd.payment.codec import (
    facilitator_request,
    parse_facilitator_request,
    parse_payment,
    read_payment,
    response_headers,
)
from dispatchd.payment.header import HEADER_CHARS_MAX
from dispatchd.payment.payload import PaymentPayload
from tests.payment.paying import (
    BASE_USDC,
    NONCE,
    OFFER,
    PAYER,
    RESOURCE,
    SELLER,
    changed,
    packed,
    parsed,
    payment,
    unpacked,
)
from tests.support.vectors import name_of, vectors

REFUSED = [v for v in vectors("payments") if "refused" in v]
GOOD = [v for v in vectors("payments") if "refused" not in v]
SIGNED = "payload.authorization"


def reason_of(headers: dict[str, str]) -> str:
    with pytest.raises(PaymentRefused) as caught:
        read_payment(headers)
    assert caught.value.detail
    return caught.value.reason


def test_without_a_payment_there_is_none() -> None:
    assert read_payment({"Content-Type": "application/json"}) is None


@pytest.mark.parametrize("header", ["PAYMENT-SIGNATURE", "X-PAYMENT", "x-payment"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("vector", GOOD, ids=name_of)
def test_either_header_carries_either_version(
    vector: dict[str, Any], version: int, header: str
) -> None:
    headers = CIMultiDictProxy(CIMultiDict({header: vector[f"v{version}"]}))
    found = read_payment(headers)
    assert found is not None
    assert (found.version, found.scheme) == (version, "exact")
    assert found.network == vector["offer"]["network"]
    assert json.loads(found.text) == unpacked(vector[f"v{version}"])
    assert found.authorization is not None
    assert found.authorization.value == int(vector["offer"]["amount"])
    assert found.authorization.nonce == vector["nonce"]
    assert found.payer == PAYER.address.lower()
    assert parse_payment(found.text) == found


@pytest.mark.parametrize("vector", [v for v in REFUSED if "signature" not in v["refused"]],
                         ids=name_of)  # fmt: skip
def test_a_golden_refusal(vector: dict[str, Any]) -> None:
    assert reason_of({"PAYMENT-SIGNATURE": vector["header"]}) == vector["refused"]


def test_with_both_headers_the_newer_counts_and_is_not_passed_over() -> None:
    headers = {"X-PAYMENT": packed(payment(1)), "PAYMENT-SIGNATURE": packed(payment(2))}
    found = read_payment(headers)
    assert found is not None
    assert found.version == 2
    assert reason_of(headers | {"PAYMENT-SIGNATURE": "junk"}) == "invalid_payload"


def test_a_header_given_twice_is_refused() -> None:
    twice = CIMultiDict([("X-PAYMENT", packed(payment(1))), ("X-PAYMENT", packed(payment(1)))])
    with pytest.raises(PaymentRefused, match="invalid_payload"):
        read_payment(twice)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "invalid_payload"),
        ("é", "invalid_payload"),
        ("\ud800", "invalid_payload"),
        ("A" * (HEADER_CHARS_MAX + 1), "invalid_payload"),
        ("A" * 1_000_000, "invalid_payload"),
        (base64.b64encode(b"\xff\xfe").decode(), "invalid_payload"),
        (base64.b64encode(b"[" * 6000).decode(), "invalid_payload"),
        (base64.b64encode(b'{"a":' * 1200).decode(), "invalid_payload"),
        (base64.b64encode(b'{"x402Version":2,"a":"\\ud800"}').decode(), "invalid_payload"),
        (base64.b64encode(b'{"x402Version":2,"a":1e400}').decode(), "invalid_payload"),
        (packed([]), "invalid_payload"),
        (packed(None), "invalid_payload"),
        (packed({}), "invalid_x402_version"),
        (packed({"x402Version": "2"}), "invalid_x402_version"),
        (packed({"x402Version": True}), "invalid_x402_version"),
        (packed({"x402Version": 10**40}), "invalid_x402_version"),
        (packed({"x402Version": 2}), "invalid_payload"),
        (packed({"x402Version": 1}), "invalid_payload"),
    ],
)
def test_junk_is_refused_by_code(value: str, reason: str) -> None:
    assert reason_of({"X-PAYMENT": value}) == reason


@pytest.mark.parametrize(("padding", "fits"), [(4000, True), (8000, False)])
def test_a_header_has_a_longest(padding: int, *, fits: bool) -> None:
    headers = {"X-PAYMENT": packed(payment() | {"extensions": {"x": "x" * padding}})}
    if fits:
        assert read_payment(headers) is not None
    else:
        assert reason_of(headers) == "invalid_payload"


@pytest.mark.parametrize("name", ["value", "validAfter", "validBefore"])
@pytest.mark.parametrize(
    "text",
    ["", "+1", "-1", " 1", "1 ", "1\n", "01", "1.0", "1e3", "0x1", "١", "1_0", str(2**256),
     "9" * 79, 1, 1.0, None, True, ["1"]],
)  # fmt: skip
def test_numbers_are_plain_decimal_strings(name: str, text: object) -> None:
    value = packed(changed(payment(), f"{SIGNED}.{name}", text))
    assert reason_of({"PAYMENT-SIGNATURE": value}) == "invalid_payload"


@pytest.mark.parametrize("number", ["0", str(2**256 - 1)])
def test_numbers_may_have_256_bits(number: str) -> None:
    found = parsed(changed(payment(), f"{SIGNED}.value", number))
    assert found.authorization is not None
    assert found.authorization.value == int(number)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{SIGNED}.from", "0x" + "g" * 40), (f"{SIGNED}.from", "0X" + "a" * 40),
        (f"{SIGNED}.to", "0x" + "a" * 39), (f"{SIGNED}.to", "0x" + "a" * 41),
        (f"{SIGNED}.nonce", "0x"), (f"{SIGNED}.nonce", "ab" * 32),
        (f"{SIGNED}.nonce", "0x" + "ab" * 32 + "\n"),
        ("payload.signature", "0x123"), ("payload.signature", "zz"), ("payload.signature", 1),
        ("payload.signature", ...), (SIGNED, ...), (SIGNED, []), ("payload", ...),
        ("payload", "x"), ("accepted", ...), ("accepted.amount", 1), ("accepted.amount", ...),
        ("accepted.maxTimeoutSeconds", "1200"), ("accepted.maxTimeoutSeconds", -1),
        ("accepted.extra", "USDC"), ("accepted.payTo", ""), ("accepted.asset", None),
    ],
)  # fmt: skip
def test_wrong_types_and_lengths_are_no_payload(path: str, value: object) -> None:
    header = packed(changed(payment(), path, value))
    assert reason_of({"PAYMENT-SIGNATURE": header}) == "invalid_payload"


@pytest.mark.parametrize(
    ("path", "value", "detail"),
    [
        (f"{SIGNED}.value", "+1",
         "payload.authorization.value: expected a whole number in plain decimal digits"),
        (f"{SIGNED}.from", "bob", "payload.authorization.from: expected 0x and 40 hex digits"),
        (f"{SIGNED}.nonce", ..., "payload.authorization.nonce is missing"),
        ("payload.signature", "0x1", "payload.signature: expected 0x and whole bytes in hex"),
        ("accepted.payTo", "", "accepted.payTo: expected a string that is not empty"),
    ],
)  # fmt: skip
def test_the_detail_names_the_field_in_words(path: str, value: object, detail: str) -> None:
    with pytest.raises(PaymentRefused) as caught:
        parsed(changed(payment(), path, value))
    assert caught.value.detail == detail


def test_addresses_may_have_either_case() -> None:
    plain = parsed(payment())
    shouted = changed(payment(), f"{SIGNED}.from", "0x" + PAYER.address[2:].upper())
    shouted = changed(shouted, f"{SIGNED}.nonce", "0x" + NONCE.hex().upper())
    assert parsed(shouted).authorization == plain.authorization
    assert parsed(shouted).key(OFFER) == plain.key(OFFER)


@pytest.mark.parametrize("name", ["monad-testnet", "eip155:10143"])
def test_version_1_may_name_a_network_either_way(name: str) -> None:
    found = parsed(changed(payment(1), "network", name))
    assert (found.network, found.network_name) == ("eip155:10143", name)


@pytest.mark.parametrize("name", ["", "monad", "base-sepolia ", "cosmos:hub", "eip155:", "x" * 99])
def test_a_network_of_no_known_kind(name: str) -> None:
    if name == "monad":  # a name of version 1 is none of version 2
        value = changed(payment(2), "accepted.network", name)
    else:
        value = changed(payment(1), "network", name)
    assert reason_of({"X-PAYMENT": packed(value)}) == "invalid_network"


def test_the_reference_names_the_authorization() -> None:
    key = parsed(payment()).key(OFFER)
    assert key.reference == (
        "eip155:10143/erc20:0x534b2f3a21130d7a60830c2df862319e593943a3/auth/"
        f"{PAYER.address.lower()}/0x{NONCE.hex()}"
    )


def test_a_solana_payment_is_known_by_what_is_signed() -> None:
    def sent(transaction: bytes) -> PaymentPayload:
        text = base64.b64encode(transaction).decode()
        network = "solana-devnet"
        value = {"x402Version": 1, "scheme": "exact", "network": network}
        return parsed(value | {"payload": {"transaction": text}})

    offer = BASE_USDC.offer(1, "x")
    one = sent(b"\x02" + b"\0" * 64 + b"s" * 64 + b"message")
    other = sent(b"\x02" + b"\1" * 64 + b"s" * 64 + b"message")
    third = sent(b"\x02" + b"\0" * 64 + b"s" * 64 + b"massage")
    assert one.network == "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
    assert one.authorization is None
    assert one.key(offer) == other.key(offer) != third.key(offer)
    for junk in (b"\x02" + b"\0" * 128, b"\xff\xff\xff\xff", b"\x80"):
        with pytest.raises(PaymentRefused, match="invalid_payload"):
            sent(junk).key(offer)


def test_no_log_shows_a_signature() -> None:
    found = parsed(payment())
    assert found.signature.hex() not in f"{found!r} {found}"
    assert NONCE.hex() not in repr(found)


@pytest.mark.parametrize("version", [1, 2])
def test_a_facilitator_is_asked_in_the_payments_version(version: int) -> None:
    found = parsed(payment(version))
    asked = json.loads(facilitator_request(found, OFFER, RESOURCE))
    assert list(asked) == ["x402Version", "paymentPayload", "paymentRequirements"]
    assert (asked["x402Version"], asked["paymentPayload"]) == (version, payment(version))
    wanted = asked["paymentRequirements"]
    assert wanted["maxAmountRequired" if version == 1 else "amount"] == "10000"
    assert wanted["network"] == ("monad-testnet" if version == 1 else "eip155:10143")
    assert parse_facilitator_request(json.dumps(asked)) == (found, OFFER)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("paymentPayload", ..., "invalid_payload"),
        ("paymentPayload", [], "invalid_payload"),
        ("x402Version", 1, "invalid_x402_version"),
        ("paymentRequirements", ..., "invalid_payment_requirements"),
        ("paymentRequirements.amount", 7, "invalid_payment_requirements"),
        ("paymentRequirements.amount", str(2**256), "invalid_payment_requirements"),
        ("paymentRequirements.payTo", "bob", "invalid_payment_requirements"),
        ("paymentRequirements.asset", "USDC", "invalid_payment_requirements"),
        ("paymentRequirements.network", "monad", "invalid_network"),
    ],
)
def test_a_question_to_a_facilitator_that_is_none(path: str, value: object, reason: str) -> None:
    asked = json.loads(facilitator_request(parsed(payment()), OFFER, RESOURCE))
    with pytest.raises(PaymentRefused) as caught:
        parse_facilitator_request(json.dumps(changed(asked, path, value)))
    assert caught.value.reason == reason


def test_response_headers_say_how_it_ended_in_both_versions() -> None:
    settled = Settlement(success=True, network=OFFER.network, payer="0xab", transaction="0xcd")
    headers = response_headers(settled, "monad-testnet")
    assert unpacked(headers["PAYMENT-RESPONSE"]) == {
        "success": True, "transaction": "0xcd", "network": "eip155:10143", "payer": "0xab",
    }  # fmt: skip
    assert unpacked(headers["X-PAYMENT-RESPONSE"])["network"] == "monad-testnet"
    refused = Settlement(success=False, network=OFFER.network, reason="insufficient_funds")
    said = unpacked(response_headers(refused)["PAYMENT-RESPONSE"])
    assert (said["success"], said["errorReason"]) == (False, "insufficient_funds")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PATHS = ["x402Version", "accepted", "payload", "resource", SIGNED, "payload.signature"] + [
    f"{parent}.{name}"
    for parent, names in (
        (
            "accepted",
            ["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds", "extra"],
        ),
        (SIGNED, ["from", "to", "value", "validAfter", "validBefore", "nonce"]),
    )
    for name in names
]


def is_payment_or_refusal(header: str) -> None:
    reason, found = "", None
    try:
        found = read_payment({"PAYMENT-SIGNATURE": header})
    except PaymentRefused as refused:
        reason = refused.reason
    if found is None:
        assert reason.startswith("invalid_")
        return
    assert parse_payment(found.text) == found
    found.key(OFFER)


@given(st.text())
def test_any_header_is_a_payment_or_a_refusal(header: str) -> None:
    is_payment_or_refusal(header)


@given(st.binary())
def test_any_bytes_are_a_payment_or_a_refusal(raw: bytes) -> None:
    is_payment_or_refusal(base64.b64encode(raw).decode())


@given(JSON, st.sampled_from(PATHS))
def test_any_value_in_any_place_is_a_payment_or_a_refusal(value: object, path: str) -> None:
    is_payment_or_refusal(packed(changed(payment(), path, value)))


@given(st.data())
def test_any_cut_or_changed_character_is_a_payment_or_a_refusal(data: st.DataObject) -> None:
    header = packed(payment())
    at = data.draw(st.integers(0, len(header) - 1))
    is_payment_or_refusal(header[:at])
    is_payment_or_refusal(header[:at] + data.draw(st.characters()) + header[at + 1 :])


def test_what_is_sent_on_has_no_second_reading() -> None:
    text = json.dumps(payment())
    doubled = text.replace('"x402Version": 2', '"x402Version": 1, "x402Version": 2')
    assert parse_payment(doubled).text.count("x402Version") == 1
    assert SELLER.address in parse_payment(doubled).text
