"""Proofs of workers' keys: the golden ones, and that no part can stand for another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from dispatchd.core.keys import KeyPair, signature_holds
from dispatchd.core.proof import is_challenge, new_challenge, proof_text
from tests.support.vectors import name_of, vectors

KEY = KeyPair(SigningKey(bytes([7] * 32)))
ALL = vectors("proofs")
PARTS = st.text(st.sampled_from("ab\n"), max_size=6)


def signed(vector: dict[str, Any]) -> bytes:
    return proof_text(vector["worker_id"], vector["challenge"], vector["host"])


@pytest.mark.parametrize("vector", [v for v in ALL if "text" in v], ids=name_of)
def test_golden_proofs(vector: dict[str, Any]) -> None:
    assert signed(vector).decode() == vector["text"]
    assert KEY.sign(signed(vector)) == vector["signature"]


@pytest.mark.parametrize("vector", [v for v in ALL if "refused" in v], ids=name_of)
def test_a_proof_for_something_else_does_not_hold(vector: dict[str, Any]) -> None:
    assert not signature_holds(KEY.public_hex, signed(vector), vector["signature"])


@given(PARTS, PARTS, PARTS, PARTS, st.text(st.sampled_from("ab"), max_size=6))
def test_nothing_signed_for_one_host_holds_for_another(
    worker_id: str, challenge: str, other_id: str, other_challenge: str, host: str
) -> None:
    """Whatever a hostile coordinator has a worker sign, newlines included."""
    other = proof_text(other_id, other_challenge, host + "x")
    assert proof_text(worker_id, challenge, host) != other


def test_a_host_that_is_no_utf_8_is_signed_byte_by_byte() -> None:
    host = b"\xffhost".decode(errors="surrogateescape")  # as it comes out of a request
    assert proof_text("w", "c", host).endswith(b"\nc\n\xffhost")


def test_challenges_are_64_hex_characters_and_never_the_same() -> None:
    made = {new_challenge() for _ in range(100)}
    assert len(made) == 100
    assert all(is_challenge(each) for each in made)
    for wrong in ("", "ab" * 31, "AB" * 32, "ab" * 32 + "\n", "zz" * 32):
        assert not is_challenge(wrong)
