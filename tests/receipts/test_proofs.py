"""No single changed byte of a bundle or of a chain verifies."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.sdk.errors import VerificationFailed
from dispatchd.sdk.proofs import Auditor, ProvenChain
from tests.support.vectors import vectors

ALL = vectors("chain")
KEY = ALL[0]["root"]["coordinator_key"]
AUDITOR = Auditor(KEY)
SHOWN = ("receipt", "receipt_signature", "output")
BUNDLES = [
    msgspec.json.encode({name: vector[name] for name in (*SHOWN, "entry", "path", "root")})
    for vector in ALL
]
FILE = b"".join(bundle + b"\n" for bundle in BUNDLES)


def line_of(vector: dict[str, Any], *, shown: bool) -> bytes:
    entry = {"entry": vector["entry"]}
    return msgspec.json.encode(entry | ({name: vector[name] for name in SHOWN} if shown else {}))


CHAIN = b"".join(
    line + b"\n"
    for line in (
        msgspec.json.encode(ALL[-1]["root"]),
        *(line_of(vector, shown=number != 1) for number, vector in enumerate(ALL)),
    )
)


def lines_of(content: bytes) -> Iterator[bytes]:
    return iter(content.splitlines(keepends=True))


def test_the_golden_files_hold() -> None:
    proven = AUDITOR.file(lines_of(FILE))
    assert not isinstance(proven, ProvenChain)
    assert [each.entry.sequence for each in proven] == [1, 2, 3]
    whole = AUDITOR.file(lines_of(CHAIN))
    assert isinstance(whole, ProvenChain)
    assert (whole.root.size, whole.receipts) == (3, 2)


@pytest.mark.parametrize("content", [*BUNDLES, FILE, CHAIN], ids=["1", "2", "3", "file", "chain"])
def test_no_single_changed_byte_verifies(content: bytes) -> None:
    @given(st.integers(0, len(content) - 1), st.integers(1, 255))
    def change(position: int, difference: int) -> None:
        other = bytearray(content)
        other[position] ^= difference
        with pytest.raises(VerificationFailed):
            AUDITOR.file(lines_of(bytes(other)))

    change()


@pytest.mark.parametrize("content", [*BUNDLES, CHAIN], ids=["1", "2", "3", "chain"])
def test_no_byte_can_be_left_out(content: bytes) -> None:
    @given(st.integers(0, len(content.rstrip()) - 1))
    def leave_out(position: int) -> None:
        with pytest.raises(VerificationFailed):
            AUDITOR.file(lines_of(content[:position] + content[position + 1 :]))

    leave_out()


@given(st.binary(max_size=200))
def test_whatever_a_file_holds_nothing_else_is_raised(content: bytes) -> None:
    for start in (b"", BUNDLES[0] + b"\n", CHAIN[: CHAIN.index(b"\n") + 1]):
        with pytest.raises(VerificationFailed):
            AUDITOR.file(lines_of(start + b"x" + content))
