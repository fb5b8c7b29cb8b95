"""A payment as it was parsed: who signed what, and the text that a facilitator is sent."""

import base64
import hashlib

from msgspec import Struct

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import AuthorizationKey, Offer, Reason
from dispatchd.payment.shapes import RequirementsV2

_SOLANA_SIGNATURE_BYTES = 64
_SEVEN_BITS = 0x7F
_MORE_FOLLOWS = 0x80


class Authorization(Struct, frozen=True):
    """An EIP-3009 authorization; addresses and nonce are in lower case, times in seconds."""

    payer: str
    to: str
    value: int
    valid_after: int
    valid_before: int
    nonce: str


class PaymentPayload(Struct, frozen=True, kw_only=True):
    """A payment that is well formed, which says nothing of whether it is good.

    `network` is a CAIP-2 identifier, `network_name` what the client wrote. `text` is its JSON, to
    be kept or sent on. On an EVM chain `authorization` is there, on Solana `transaction` is.
    """

    version: int
    scheme: str
    network: str
    network_name: str
    text: str
    accepted: RequirementsV2 | None = None
    authorization: Authorization | None = None
    signature: bytes = b""
    transaction: str | None = None

    def __repr__(self) -> str:
        """No log must ever show what could be settled."""
        return f"<x402 payment, version {self.version}, {self.network}>"

    @property
    def payer(self) -> str | None:
        """Who says to pay, where that can be read."""
        return self.authorization.payer if self.authorization else None

    def key(self, offer: Offer) -> AuthorizationKey:
        """What this payment can be used once by; raises `PaymentRefused` where there is none."""
        if self.authorization is not None:
            payer, nonce = self.authorization.payer, self.authorization.nonce
            return AuthorizationKey(offer.network, offer.asset.lower(), payer, nonce)
        return AuthorizationKey(offer.network, offer.asset, "", _message_hash(self.transaction))


def _message_hash(transaction: str | None) -> str:
    """The hash of what a Solana transaction's signatures sign.

    The signatures stay out of it: the fee payer's place among them may hold anything.
    """
    try:
        raw = base64.b64decode(transaction or "", validate=True)
        count, at = _short_count(raw)
    except (ValueError, IndexError):
        raise PaymentRefused(Reason.PAYLOAD, "payload.transaction is no transaction") from None
    message = raw[at + count * _SOLANA_SIGNATURE_BYTES :]
    if not message:
        raise PaymentRefused(Reason.PAYLOAD, "payload.transaction is no transaction")
    return hashlib.sha256(message).hexdigest()


def _short_count(raw: bytes) -> tuple[int, int]:
    """Solana's compact number at the start, seven bits a byte, and where it ends."""
    count = 0
    for place in range(3):
        count |= (raw[place] & _SEVEN_BITS) << (7 * place)
        if not raw[place] & _MORE_FOLLOWS:
            return count, place + 1
    raise ValueError("a count of more than three bytes")
