"""Digests, signatures and addresses, with eth-account as the judge."""

from contextlib import suppress
from typing import Any

import pytest
from coincurve import PublicKey
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import Offer
from dispatchd.payment.checks import check_signature
from dispatchd.payment.eip712 import domain_of, transfer_digest
from dispatchd.payment.payload import Authorization
from dispatchd.payment.signature import checksummed, recover
from dispatchd.payment.terms import parse_offer
from dispatchd.payment.wallet import Wallet
from tests.payment import oracle
from tests.payment.paying import (
    NOW,
    OFFER,
    PAYER,
    changed,
    high_s_twin,
    parsed,
    payment,
    unpacked,
)
from tests.support.vectors import name_of, vectors

GOOD = [v for v in vectors("payments") if "refused" not in v]
BAD = [v for v in vectors("payments") if "signature" in v.get("refused", "")]
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
words = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
numbers = st.integers(0, 2**256 - 1)
keys = st.integers(1, ORDER - 1).map(lambda number: f"{number:064x}")


@pytest.mark.parametrize("vector", GOOD, ids=name_of)
def test_a_golden_digest(vector: dict[str, Any]) -> None:
    offer = parse_offer(vector["offer"], 2)
    authorization = parsed(unpacked(vector["v2"])).authorization
    assert authorization is not None
    assert "0x" + transfer_digest(authorization, domain_of(offer)).hex() == vector["digest"]


@pytest.mark.parametrize("vector", GOOD, ids=name_of)
@pytest.mark.parametrize("version", [1, 2])
def test_our_payments_are_the_golden_ones(vector: dict[str, Any], version: int) -> None:
    header = PAYER.sign(
        parse_offer(vector["offer"], 2),
        version,
        vector["now"],
        nonce=bytes.fromhex(vector["nonce"][2:]),
        resource_url=vector["resource"],
    )
    assert header == vector[f"v{version}"]


@pytest.mark.parametrize("vector", BAD, ids=name_of)
def test_a_golden_signature_that_must_be_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(PaymentRefused, match=vector["refused"]):
        check_signature(parsed(unpacked(vector["header"])), OFFER)


@given(addresses, addresses, numbers, numbers, numbers, words, st.text(), st.integers(0, 2**64))
def test_the_oracle_has_the_same_digest(
    payer: str, to: str, value: int, after: int, before: int, nonce: str, name: str, chain: int
) -> None:
    offer = Offer(
        network=f"eip155:{chain}",
        asset=to,
        amount=value,
        pay_to=to,
        max_timeout_seconds=1,
        extra={"name": name, "version": name},
    )
    authorization = Authorization(payer, to, value, after, before, nonce)
    wire = {
        "from": payer,
        "to": to,
        "value": str(value),
        "validAfter": str(after),
        "validBefore": str(before),
        "nonce": nonce,
    }
    assert transfer_digest(authorization, domain_of(offer)) == oracle.digest_of(wire, offer)


@given(keys, words)
def test_the_oracle_signs_and_recovers_the_same(key: str, nonce: str) -> None:
    wallet, account = Wallet.from_key(key), Account.from_key(key)
    assert wallet.address == account.address == checksummed(wallet.address.lower())
    mine = payment(wallet=wallet, nonce=bytes.fromhex(nonce[2:]))
    message = oracle.message_of(mine["payload"]["authorization"], OFFER)
    theirs = "0x" + account.sign_message(message).signature.hex()
    assert mine["payload"]["signature"] == theirs
    check_signature(parsed(mine), OFFER)


def same_as_oracle(digest: bytes, signature: bytes) -> bool:
    """Whether we recover anybody, who must be whom the oracle recovers; we may be stricter."""
    found = None
    with suppress(PaymentRefused):
        found = recover(digest, signature)
    if found is None:
        return False
    assert found == Account._recover_hash(digest, signature=signature).lower()
    return True


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=70))
def test_any_bytes_are_a_signature_or_refused(digest: bytes, signature: bytes) -> None:
    same_as_oracle(digest, signature)


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(1, ORDER - 1),
    st.integers(1, ORDER // 2),
    st.sampled_from([0, 1, 27, 28]),
)
def test_whom_we_recover_the_oracle_recovers(digest: bytes, r: int, s: int, v: int) -> None:
    same_as_oracle(digest, r.to_bytes(32) + s.to_bytes(32) + bytes([v]))


@pytest.mark.parametrize("v", [0, 1, 27, 28])
def test_v_may_be_written_in_two_ways(v: int) -> None:
    good = payment()["payload"]["signature"]
    same = int(good[-2:], 16) % 27 == v % 27
    changed_v = parsed(changed(payment(), "payload.signature", good[:-2] + f"{v:02x}"))
    if same:
        check_signature(changed_v, OFFER)
        return
    with pytest.raises(PaymentRefused, match="signature"):
        check_signature(changed_v, OFFER)


@pytest.mark.parametrize(
    "signature",
    [
        "0x",
        high_s_twin(payment()["payload"]["signature"]),
        payment()["payload"]["signature"][:-2],
        payment()["payload"]["signature"] + "00",
        *(
            payment()["payload"]["signature"][:-2] + v
            for v in ("02", "03", "1a", "1d", "36", "37", "ff")
        ),
        "0x" + "00" * 32 + "01" * 32 + "1b",
        "0x" + "01" * 32 + "00" * 32 + "1b",
        "0x" + "ff" * 32 + "01" * 32 + "1b",
        "0x" + f"{ORDER:064x}" + "01" * 32 + "1b",
    ],
)
def test_a_signature_that_no_contract_takes(signature: str) -> None:
    with pytest.raises(PaymentRefused) as caught:
        check_signature(parsed(changed(payment(), "payload.signature", signature)), OFFER)
    assert caught.value.reason == "invalid_exact_evm_payload_signature"


def test_the_twin_would_have_been_the_payers() -> None:
    twin = changed(payment(), "payload.signature", high_s_twin(payment()["payload"]["signature"]))
    raw = parsed(twin)
    assert raw.authorization is not None
    digest = transfer_digest(raw.authorization, domain_of(OFFER))
    with pytest.raises(PaymentRefused):
        recover(digest, raw.signature)
    unguarded = PublicKey.from_signature_and_message(
        raw.signature[:64] + bytes([raw.signature[64] - 27]), digest, hasher=None
    )
    assert unguarded.format() == PAYER._key.public_key.format()
    assert int(payment()["payload"]["authorization"]["validBefore"]) == NOW + 1200
