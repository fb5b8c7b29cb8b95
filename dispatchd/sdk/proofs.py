"""Checks offline that bundles and whole chains hold, with nothing but a coordinator's key.

Values are checked, not bytes: whoever prints the same JSON again may space it otherwise. As a
coordinator prints it no byte is without meaning, so that none can be another.
"""

from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from dispatchd.core.chain import (
    BEFORE_FIRST,
    Bundle,
    SignedEntry,
    SignedRoot,
    receipt_hash,
)
from dispatchd.core.errors import BadReceipt
from dispatchd.core.job import Completion
from dispatchd.core.merkle import grow, root_by_path, root_of
from dispatchd.core.receipt import Receipt
from dispatchd.core.receipt import verify as verify_completion
from dispatchd.sdk.errors import VerificationFailed

_T = TypeVar("_T")


class ChainLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of an exported chain; a PRIVATE job's has neither receipt nor output."""

    entry: SignedEntry
    receipt: str | UnsetType = UNSET
    receipt_signature: str | UnsetType = UNSET
    output: str | UnsetType = UNSET


class ProvenResult(Struct, frozen=True):
    """A result that a coordinator has put into its chain."""

    receipt: Receipt
    entry: SignedEntry
    root: SignedRoot


class ProvenChain(Struct, frozen=True):
    """A whole chain: so many entries, so many of them with receipt and output."""

    root: SignedRoot
    receipts: int


class _Form(Struct):
    coordinator_key: msgspec.Raw | UnsetType = UNSET


class Auditor:
    """Checks in the name of one coordinator key; with a worker's key, only that may have signed."""

    def __init__(self, coordinator_key: str, provider_pubkey: str | None = None) -> None:
        self._key = coordinator_key.lower()
        self._worker = None if provider_pubkey is None else provider_pubkey.lower()

    def file(self, lines: Iterator[bytes]) -> "list[ProvenResult] | ProvenChain":
        """What a file of `receipt export` proves: bundles, one a line, or a whole chain.

        Raises `VerificationFailed` with the first thing that does not hold.
        """
        first = next(lines, b"")
        if not isinstance(_decoded(first, _Form, "line 1").coordinator_key, UnsetType):
            return self.chain(first, lines)
        found = [self._bundle(first, "line 1")]
        found += [self._bundle(line, f"line {n}") for n, line in enumerate(lines, 2)]
        return found

    def bundle(self, text: bytes) -> ProvenResult:
        """What a bundle proves, as `GET /v1/receipts/{job_id}` gives it."""
        return self._bundle(text, "the bundle")

    def chain(self, head: bytes, lines: Iterator[bytes]) -> ProvenChain:
        """What a whole chain proves: its signed root, and each of its entries in order."""
        root = _decoded(head, SignedRoot, "line 1")
        self._check_root(root, "line 1")
        previous, peaks, size, receipts = BEFORE_FIRST, list[bytes](), 0, 0
        for size, text in enumerate(lines, 1):
            line = _decoded(text, ChainLine, f"line {size + 1}")
            self._check_place(line.entry, size, previous, root.size)
            receipts += self._check_shown(line)
            previous = line.entry.leaf
            peaks, _ = grow(size - 1, peaks, [previous])
        if size < root.size:
            raise VerificationFailed(
                f"the chain is cut off: it ends with entry {size}, and its root is over {root.size}"
            )
        if root_of(peaks).hex() != root.root:
            raise VerificationFailed("root: it is not over these entries")
        return ProvenChain(root, receipts)

    def _bundle(self, text: bytes, where: str) -> ProvenResult:
        bundle = _decoded(text, Bundle, where)
        self._check_root(bundle.root, where)
        done = (bundle.receipt, bundle.receipt_signature, bundle.output)
        receipt = self._check_result(*done, bundle.entry, where)
        self._check_signed(bundle.entry, where)
        path = [bytes.fromhex(each) for each in bundle.path]
        entry, root = bundle.entry, bundle.root
        reached = root_by_path(entry.leaf, entry.sequence - 1, root.size, path)
        if reached is None or reached.hex() != root.root:
            raise VerificationFailed(f"{where}: path: it does not lead from the entry to the root")
        return ProvenResult(receipt, entry, root)

    def _check_root(self, root: SignedRoot, where: str) -> None:
        if root.coordinator_key != self._key:
            raise VerificationFailed(
                f"{where}: coordinator_key: it is another coordinator's, {root.coordinator_key}"
            )
        if not root.is_of(self._key):
            raise VerificationFailed(
                f"{where}: root: its signature is not that of the coordinator over size and root"
            )

    def _check_place(self, entry: SignedEntry, sequence: int, previous: bytes, size: int) -> None:
        """An entry stands where it must, behind the one before it."""
        if entry.sequence != sequence:
            raise VerificationFailed(
                f"entry {sequence} is missing: entry {entry.sequence} stands in its place"
            )
        where = f"entry {sequence}"
        if sequence > size:
            raise VerificationFailed(f"{where}: the root is over {size} entries only")
        if entry.previous != previous.hex():
            raise VerificationFailed(f"{where}: previous: it is not the hash of the one before")
        self._check_signed(entry, where)

    def _check_signed(self, entry: SignedEntry, where: str) -> None:
        if not entry.is_of(self._key):
            raise VerificationFailed(
                f"{where}: entry: its signature is not that of the coordinator over its fields"
            )

    def _check_shown(self, line: ChainLine) -> bool:
        """Whether an entry comes with receipt and output; they hold then."""
        shown = (line.receipt, line.receipt_signature, line.output)
        given = [text for text in shown if not isinstance(text, UnsetType)]
        where = f"entry {line.entry.sequence}"
        if not given:
            return False
        if len(given) < len(shown):
            raise VerificationFailed(f"{where}: receipt, receipt_signature, output: one is missing")
        receipt, signature, output = given
        self._check_result(receipt, signature, output, line.entry, where)
        return True

    def _check_result(
        self, receipt: str, signature: str, output: str, entry: SignedEntry, where: str
    ) -> Receipt:
        """The receipt, once it proves the output and is the one that the entry is about."""
        try:
            stated = msgspec.json.decode(receipt, type=Receipt)
            done = Completion(output, stated.output_hash, receipt, signature)
            signer = self._worker or stated.provider_pubkey.lower()
            verify_completion(done, job_id=stated.job_id, provider_pubkey=signer)
        except (msgspec.DecodeError, RecursionError, BadReceipt) as error:
            raise VerificationFailed(f"{where}: receipt: {error}") from None
        if receipt_hash(receipt, signature).hex() != entry.receipt_hash:
            raise VerificationFailed(
                f"{where}: receipt_hash: the entry is about another receipt or signature"
            )
        return stated


def _decoded(text: bytes, kind: type[_T], where: str) -> _T:
    line = text[: -len(end)] if (end := _line_end(text)) else text
    if not (line.startswith(b"{") and line.endswith(b"}")):
        raise VerificationFailed(f"{where}: it is no JSON object on a line of its own")
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise VerificationFailed(f"{where}: {error}") from None


def _line_end(line: bytes) -> bytes:
    return next((end for end in (b"\r\n", b"\n") if line.endswith(end)), b"")
