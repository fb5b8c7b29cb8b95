"""Receipts: what a worker signs when it hands in a job, and how that is checked.

Format: the protocol's part 1. A receipt travels and is stored as the text that was signed.
"""

import hashlib
import re
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from dispatchd.core.ecma import ecma_json
from dispatchd.core.errors import BadReceipt
from dispatchd.core.job import Completion
from dispatchd.core.keys import KeyPair, signature_holds

_CHARS_MAX = 8192
_HASH_PREFIX = "sha256:"
_TOKEN_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


class Receipt(Struct, frozen=True, forbid_unknown_fields=True):
    """The signed statement; its fields are printed in this order."""

    job_id: str
    provider_pubkey: str
    output_hash: str
    completed_at: str
    payment_ref: str | None

    @property
    def text(self) -> str:
        """The compact JSON that is signed."""
        return ecma_json(msgspec.structs.asdict(self))


def hash_of(output: str) -> str:
    """The hash of an output's JSON text as our receipts write it."""
    return _HASH_PREFIX + hashlib.sha256(output.encode()).hexdigest()


def complete(
    key: KeyPair, job_id: str, output: str, completed_at: str, payment_ref: str | None = None
) -> Completion:
    """Signs an output and returns what a worker hands in."""
    receipt = Receipt(job_id, key.public_hex, hash_of(output), completed_at, payment_ref)
    text = receipt.text
    return Completion(output, receipt.output_hash, text, key.sign(text.encode()))


def verify(
    done: Completion, *, job_id: str, provider_pubkey: str, payment_ref: str | None = None
) -> str:
    """The receipt's text as it was signed, once every field has been found true.

    Other people's workers may not know the payment of a paid job, and leave it out.

    Raises `BadReceipt` with the first thing that does not hold.
    """
    receipt = _parse(done.receipt)
    _check_fields(receipt, done, job_id, provider_pubkey)
    if payment_ref is not None and receipt.payment_ref not in {None, payment_ref}:
        raise BadReceipt("payment_ref does not match")
    for text in _texts_that_may_be_signed(done.receipt):
        if signature_holds(provider_pubkey, text.encode(), done.signature):
            return text
    raise BadReceipt("the signature is not that of this key over this receipt")


def _parse(text: str) -> Receipt:
    if len(text) > _CHARS_MAX:
        raise BadReceipt(f"receipt: longer than {_CHARS_MAX} characters")
    try:
        return msgspec.json.decode(text, type=Receipt)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadReceipt(f"receipt: {error}") from None


def _check_fields(receipt: Receipt, done: Completion, job_id: str, provider_pubkey: str) -> None:
    expected = hash_of(done.output)
    checks = {
        "job_id": receipt.job_id == job_id,
        "provider_pubkey": receipt.provider_pubkey.lower() == provider_pubkey,
        "output_hash": _full(receipt.output_hash) == expected,
        "output_hash of the message": _full(done.output_hash) == expected,
    }
    for field, holds in checks.items():
        if not holds:
            raise BadReceipt(f"{field} does not match")


def _full(output_hash: str) -> str:
    """Workers in other languages send the bare hex."""
    return output_hash if output_hash.startswith(_HASH_PREFIX) else _HASH_PREFIX + output_hash


def _texts_that_may_be_signed(receipt: str) -> Iterator[str]:
    """The receipt as received, then its compact forms, keys in the order received.

    Whoever printed the frame may have spaced it out or escaped it where the signed text was not.
    """
    yield receipt
    compact = _TOKEN_OR_SPACE.sub(lambda match: match[1] or "", receipt)
    if compact != receipt:
        yield compact
    try:
        printed = ecma_json(msgspec.json.decode(compact))
    except (msgspec.DecodeError, ValueError):
        return
    if printed != compact:
        yield printed
