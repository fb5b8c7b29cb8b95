"""Receipts: the golden ones, those that must be refused, and any single change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nacl.signing import SigningKey

from dispatchd.core.ecma import ecma_json
from dispatchd.core.errors import BadReceipt
from dispatchd.core.job import Completion
from dispatchd.core.keys import KeyPair
from dispatchd.core.receipt import complete, verify
from tests.support.vectors import name_of, vectors

KEY = KeyPair(SigningKey(bytes([7] * 32)))
JOB = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
AT = "2026-02-09T12:00:02.000Z"
ALL = vectors("receipts")


def checked(vector: dict[str, Any]) -> str:
    fields = ("output", "output_hash", "receipt", "signature")
    done = Completion(*(vector[name] for name in fields))
    return verify(done, job_id=vector["job_id"], provider_pubkey=vector["provider_pubkey"])


@pytest.mark.parametrize("vector", [v for v in ALL if "signed" in v], ids=name_of)
def test_a_golden_receipt_is_kept_as_it_was_signed(vector: dict[str, Any]) -> None:
    assert checked(vector) == vector["signed"]


@pytest.mark.parametrize("vector", [v for v in ALL if "refused" in v], ids=name_of)
def test_a_receipt_that_does_not_hold_is_refused_by_name(vector: dict[str, Any]) -> None:
    with pytest.raises(BadReceipt, match=vector["refused"]):
        checked(vector)


def test_our_own_receipts_are_the_golden_one() -> None:
    golden = ALL[0]
    done = complete(KEY, JOB, golden["output"], AT)
    assert (done.receipt, done.signature, done.output_hash) == (
        golden["receipt"],
        golden["signature"],
        golden["output_hash"],
    )


@given(st.data())
def test_no_single_changed_character_verifies(data: st.DataObject) -> None:
    done = complete(KEY, JOB, '{"text":"é","n":0.5}', AT)
    field = data.draw(st.sampled_from(["output", "output_hash", "receipt", "signature"]))
    text = getattr(done, field)
    position = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[position]))
    changed = replace(done, **{field: text[:position] + letter + text[position + 1 :]})
    with pytest.raises(BadReceipt):
        verify(changed, job_id=JOB, provider_pubkey=KEY.public_hex)


@given(st.text(), st.text())
def test_any_text_for_a_receipt_is_refused_and_never_raises_anything_else(
    receipt: str, signature: str
) -> None:
    with pytest.raises(BadReceipt):
        verify(Completion("{}", "", receipt, signature), job_id=JOB, provider_pubkey=KEY.public_hex)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON.filter(lambda value: "\ud800" not in repr(value)))
def test_whatever_we_print_verifies(value: object) -> None:
    try:
        output = ecma_json(value)
    except ValueError:
        return  # a number beyond any double
    done = complete(KEY, JOB, output, AT)
    assert verify(done, job_id=JOB, provider_pubkey=KEY.public_hex) == done.receipt
