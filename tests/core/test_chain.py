"""The chain of receipts: its golden entries, roots and hashes."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict, replace
from nacl.signing import SigningKey

from dispatchd.core.chain import (
    Entry,
    Root,
    SignedEntry,
    SignedRoot,
    receipt_hash,
    request_hash,
    sign_entry,
    sign_root,
)
from dispatchd.core.keys import KeyPair
from tests.support import auditor
from tests.support.vectors import name_of, vectors

KEY = KeyPair(SigningKey(bytes([9] * 32)))
ALL = vectors("chain")
each_vector = pytest.mark.parametrize("vector", ALL, ids=name_of)


@each_vector
def test_a_golden_entry_is_what_we_would_write(vector: dict[str, Any]) -> None:
    job = vector["job"]
    names = ("id", "tier", "job_type", "privacy", "user_id", "payload")
    entry = Entry(
        vector["entry"]["sequence"],
        vector["entry"]["previous"],
        receipt_hash(vector["receipt"], vector["receipt_signature"]).hex(),
        request_hash(*(job[name] for name in names)).hex(),
        job["completed_at"],
    )
    assert entry.text.decode() == vector["text"]
    assert entry.leaf.hex() == vector["leaf"]
    assert asdict(entry) | {"signature": sign_entry(KEY, entry)} == vector["entry"]
    root = sign_root(KEY, Root(vector["root"]["size"], vector["root"]["root"]))
    assert msgspec.to_builtins(root) == vector["root"]


@each_vector
def test_a_golden_entry_holds_for_its_key_alone(vector: dict[str, Any]) -> None:
    entry = msgspec.convert(vector["entry"], SignedEntry)
    root = msgspec.convert(vector["root"], SignedRoot)
    other = KeyPair.generate().public_hex
    assert (entry.is_of(KEY.public_hex), entry.is_of(other)) == (True, False)
    assert (root.is_of(KEY.public_hex), root.is_of(other)) == (True, False)
    assert not replace(entry, sequence=entry.sequence + 1).is_of(KEY.public_hex)
    assert not replace(root, size=root.size + 1).is_of(KEY.public_hex)


@each_vector
def test_a_golden_bundle_holds_for_whoever_reads_the_document(vector: dict[str, Any]) -> None:
    names = ("receipt", "receipt_signature", "output", "entry", "path", "root")
    auditor.check_bundle(msgspec.json.encode({name: vector[name] for name in names}).decode())


def test_the_golden_chain_is_one() -> None:
    auditor.check_chain([vector["entry"] for vector in ALL], ALL[-1]["root"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", 0),
        ("sequence", -1),
        ("sequence", 2**53),
        ("previous", "0" * 63),
        ("previous", "A" * 64),
        ("receipt_hash", "0" * 64 + "\n"),
        ("signature", "A" * 88),
        ("signature", "A" * 85 + "B=="),
    ],
)
def test_an_entry_that_is_written_otherwise_is_none(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(ALL[0]["entry"] | {field: value}, SignedEntry)
