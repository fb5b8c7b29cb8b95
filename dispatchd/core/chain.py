"""The chain of receipts: what a coordinator says of every job that has completed, in order.

Format: receipts.md beside this file. Each entry names the one before it by its hash; the same
hashes are the leaves of a Merkle tree, whose root stands for the whole chain.
"""

import hashlib
from typing import Annotated

from msgspec import Meta, Struct

from dispatchd.core.job import Millis
from dispatchd.core.keys import KeyPair, signature_holds
from dispatchd.core.merkle import HASH_BYTES, leaf_hash

Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Signature = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9+/]{85}[AQgw]==\Z", description="Detached ed25519, base64.")
]
SEQUENCE_MAX = 2**53 - 1
"""So far everybody's numbers are exact."""

BEFORE_FIRST = bytes(HASH_BYTES)
"""Stands for the entry before the first."""


class Entry(Struct, frozen=True):
    """One completed job. Its text is what is signed, and what is hashed as a leaf."""

    sequence: Annotated[int, Meta(ge=1, le=SEQUENCE_MAX)]
    previous: Hash
    receipt_hash: Hash
    request_hash: Hash
    completed_at: str

    @property
    def text(self) -> bytes:
        """The canonical bytes."""
        return (
            f"dispatchd receipts entry v1\n{self.sequence}\n{self.previous}\n"
            f"{self.receipt_hash}\n{self.request_hash}\n{self.completed_at}"
        ).encode()

    @property
    def leaf(self) -> bytes:
        """The hash by which the next entry names this one: its leaf in the tree."""
        return leaf_hash(self.text)


class Root(Struct, frozen=True):
    """The Merkle root over the first `size` entries."""

    size: Annotated[int, Meta(ge=0, le=SEQUENCE_MAX)]
    root: Hash

    @property
    def text(self) -> bytes:
        """The bytes that are signed."""
        return f"dispatchd receipts root v1\n{self.size}\n{self.root}".encode()


class Place(Struct, frozen=True):
    """An entry's place in the tree: the hashes that lead from it to the root, from below."""

    entry: Entry
    path: tuple[str, ...]
    root: Root


class Link(Struct, frozen=True):
    """What a chain keeps of a job that has just completed."""

    job_id: str
    receipt_hash: bytes
    request_hash: bytes
    completed_at: Millis


class SignedEntry(Entry, frozen=True, forbid_unknown_fields=True):
    """An entry with its coordinator's signature."""

    signature: Signature

    def is_of(self, coordinator_key: str) -> bool:
        """Whether that key has signed."""
        return signature_holds(coordinator_key, self.text, self.signature)


class SignedRoot(Struct, frozen=True, forbid_unknown_fields=True):
    """A root with its coordinator's key and signature."""

    coordinator_key: Hash
    size: Annotated[int, Meta(ge=0, le=SEQUENCE_MAX)]
    root: Hash
    signature: Signature

    def is_of(self, coordinator_key: str) -> bool:
        """Whether that key has signed."""
        return signature_holds(coordinator_key, Root(self.size, self.root).text, self.signature)


class Sealed(Struct, frozen=True):
    """What a coordinator has signed of an entry: the entry, and a root that it is under."""

    place: Place
    signature: str
    root: SignedRoot


class ListedEntry(SignedEntry, frozen=True, forbid_unknown_fields=True):
    """An entry in a page. `job_id` is null for a PRIVATE job."""

    job_id: str | None


class EntryPage(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the chain; `next` is what `after` must be for the part behind it."""

    entries: list[ListedEntry]
    next: int | None


class Bundle(Struct, frozen=True, forbid_unknown_fields=True):
    """All that proves one result, for whoever has nothing but the coordinator's key.

    `receipt` and `output` are texts exactly as they were signed and hashed. `path` leads from the
    entry to the root.
    """

    receipt: str
    receipt_signature: str
    output: str
    entry: SignedEntry
    path: list[Hash]
    root: SignedRoot


def sign_entry(key: KeyPair, entry: Entry) -> str:
    """The signature of an entry; the same every time, as ed25519 is."""
    return key.sign(entry.text)


def sign_root(key: KeyPair, root: Root) -> SignedRoot:
    """A root with its signature."""
    return SignedRoot(key.public_hex, root.size, root.root, key.sign(root.text))


def receipt_hash(receipt: str, signature: str) -> bytes:
    """The hash of a receipt as it was signed, with its signature."""
    return hashlib.sha256(f"{receipt}\n{signature}".encode()).digest()


def request_hash(
    job_id: str, tier: str, job_type: str, privacy: str, user_id: str, payload: str
) -> bytes:
    """The hash of what was asked for. None of the first five may hold a line break.

    The id, of which 122 bits are random, keeps others from guessing a short payload.
    """
    text = f"dispatchd request v1\n{job_id}\n{tier}\n{job_type}\n{privacy}\n{user_id}\n{payload}"
    return hashlib.sha256(text.encode()).digest()
