"""Checks offline that a receipt proves a result: hash, job id and signature."""

import json
from collections.abc import Iterator

import msgspec

from dispatchd.core.errors import BadReceipt
from dispatchd.core.job import Completion
from dispatchd.core.members import members
from dispatchd.core.receipt import Receipt
from dispatchd.core.receipt import verify as verify_completion
from dispatchd.sdk.errors import VerificationFailed
from dispatchd.sdk.result import ComputeResult

_ADDED = frozenset({"signature", "verified"})
"""What coordinators add to the receipt that the worker signed."""


def verify(result: ComputeResult, *, provider_pubkey: str | None = None) -> Receipt:
    """The receipt, once its signature is found to be over this output of this job.

    Any key may have signed unless `provider_pubkey` names one. Raises `VerificationFailed`.
    """
    if not (result.receipt_text and result.result_text and result.job_id):
        raise VerificationFailed(
            f"This result has no receipt (route {result.route})", job_id=result.job_id
        )
    return verify_texts(result.job_id, result.result_text, result.receipt_text, provider_pubkey)


def verify_texts(
    job_id: str, result_text: str, receipt_text: str, provider_pubkey: str | None = None
) -> Receipt:
    """`verify` over texts as they stand in a coordinator's reply."""
    try:
        parts = members(receipt_text)
        signature = str(json.loads(parts["signature"]))
        own = {name: text for name, text in parts.items() if name in Receipt.__struct_fields__}
        receipt = msgspec.json.decode(_object(own), type=Receipt)
    except (ValueError, KeyError, RecursionError, msgspec.DecodeError):
        raise VerificationFailed("The receipt lacks a field", job_id=job_id) from None
    signer = (provider_pubkey or receipt.provider_pubkey).lower()
    problem = ""
    for text in _texts_that_may_be_signed(parts):
        done = Completion(result_text, receipt.output_hash, text, signature)
        try:
            verify_completion(done, job_id=job_id, provider_pubkey=signer)
        except BadReceipt as error:
            problem = problem or str(error)
        else:
            return receipt
    raise VerificationFailed(f"The receipt does not hold: {problem}", job_id=job_id)


def _texts_that_may_be_signed(parts: dict[str, str]) -> Iterator[str]:
    """The receipt's own five fields, in the order in which they stand there."""
    yield _object({name: text for name, text in parts.items() if name in Receipt.__struct_fields__})


def _object(parts: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in parts.items()) + "}"
