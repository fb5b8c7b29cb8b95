"""One payment that was signed, and what is known about its fate."""

import base64
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dispatchd.sdk import Payer, Payment
from dispatchd.sdk.errors import BadReply, PaymentRefused
from dispatchd.sdk.http import Reply, sentence_of
from dispatchd.sdk.result import JobReply

_BACK = frozenset({"released", "refused", "failed"})
"""The states of a payment that no money comes from any more."""
_MAY_HAVE_MOVED = frozenset(
    {"payment_already_used", "invalid_exact_evm_nonce_already_used", "settlement_pending"}
)
_SETTLEMENT = ("PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE")
_OFFER = ("PAYMENT-REQUIRED",)
_MEANINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "insufficient_funds": ("the wallet holds too little of that token", "Put money into it."),
        "payment_already_used": ("this payment has bought something else already", ""),
        "invalid_exact_evm_nonce_already_used": ("this payment has been taken already", ""),
        "settlement_pending": ("this payment is being taken", "Look again in a minute."),
        "invalid_exact_evm_payload_authorization_valid_before": (
            "it would end too soon",
            "Is this machine's clock right?",
        ),
        "invalid_exact_evm_payload_authorization_valid_after": (
            "it is not valid yet",
            "Is this machine's clock right?",
        ),
        "invalid_exact_evm_payload_signature": (
            "the signature does not fit this token and network",
            "Is the token's EIP-712 domain right in the offer?",
        ),
    }
)


class Outlay:
    """A payment on its way; it is `out` until it is known that it was not taken."""

    def __init__(self, payer: Payer, payment: Payment) -> None:
        self._payer = payer
        self.payment = payment
        self.out = True

    def returned(self) -> None:
        """The payment was not taken and will not be; a second time does nothing."""
        if self.out:
            self.out = False
            self._payer.give_back(self.payment)

    def ended(self, job: JobReply) -> None:
        """Its job has ended, and says what became of the payment."""
        if job.payment is not None and job.payment.state in _BACK:
            self.returned()

    def refused(self, reply: Reply) -> PaymentRefused:
        """The error that a 402 is which answers this payment."""
        refused = refusal_of(reply)
        if not refused.may_be_charged:
            self.returned()
        return refused


def refusal_of(reply: Reply) -> PaymentRefused:
    """Why a payment was refused, from either version's headers or the body."""
    reason, detail = _reason(reply)
    meaning, hint = _MEANINGS.get(reason, ("", ""))
    told = meaning or detail or reason.replace("_", " ")
    more = f"; {detail}" if meaning and detail else ""
    may_be_charged = reply.doubted or reason in _MAY_HAVE_MOVED
    if may_be_charged:
        hint = f"{hint} The money may have been taken; paying again may pay twice.".strip()
    return PaymentRefused(
        f"The payment was refused: {told} ({reason}{more})",
        reason=reason,
        detail=detail,
        may_be_charged=may_be_charged,
        hint=hint,
    )


def header_object(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """The JSON in the first of some headers that is there; empty where it cannot be read."""
    given = {name.upper(): value for name, value in headers.items()}
    text = next((given[name] for name in names if name in given), "")
    try:
        value = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def settlement_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """How a payment ended, as the server's headers say it; empty where they say nothing."""
    return header_object(headers, _SETTLEMENT)


def _reason(reply: Reply) -> tuple[str, str]:
    """The code and the sentence."""
    try:
        body = reply.object
    except BadReply:
        body = {}
    settled, offered = settlement_of(reply.headers), header_object(reply.headers, _OFFER)
    reasons = (settled.get("errorReason"), offered.get("error"), body.get("error"))
    details = (body.get("detail"), settled.get("errorMessage"))
    reason = next((one for one in reasons if one and isinstance(one, str)), sentence_of(reply))
    return reason, next((one for one in details if one and isinstance(one, str)), "")
