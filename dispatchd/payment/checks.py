"""Whether a payment is good for an offer, as far as that can be told without the chain."""

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import EVM, Offer, Reason
from dispatchd.payment.eip712 import domain_of, transfer_digest
from dispatchd.payment.payload import Authorization, PaymentPayload
from dispatchd.payment.shapes import RequirementsV2
from dispatchd.payment.signature import SIGNATURE_BYTES, recover


def check_authorization(
    payload: PaymentPayload,
    offer: Offer,
    now_seconds: int,
    min_left_seconds: int = 0,
    *,
    contract_wallets: bool = False,
) -> None:
    """Raises `PaymentRefused` with the first thing that is wrong.

    `contract_wallets` leaves signatures that are none of a key to a facilitator with a chain. A
    Solana payment is opaque: only what it accepts is looked at.
    """
    check_terms(payload, offer)
    if payload.authorization is None:
        return
    check_window(payload.authorization, now_seconds, min_left_seconds)
    if not (contract_wallets and len(payload.signature) != SIGNATURE_BYTES):
        check_signature(payload, offer)


def check_terms(payload: PaymentPayload, offer: Offer) -> None:
    """The payment is for this offer: scheme, network, recipient, amount, and what it repeats."""
    if payload.scheme != offer.scheme:
        raise PaymentRefused(Reason.SCHEME, f"The scheme must be {offer.scheme}")
    if payload.network != offer.network:
        raise PaymentRefused(Reason.NETWORK, f"The network must be {offer.network}")
    if payload.authorization is not None:
        if payload.authorization.to != offer.pay_to.lower():
            raise PaymentRefused(Reason.RECIPIENT, f"`to` must be {offer.pay_to}")
        if payload.authorization.value != offer.amount:
            raise PaymentRefused(Reason.VALUE, f"`value` must be exactly {offer.amount}")
    if payload.accepted is not None and (name := _difference(payload.accepted, offer)):
        raise PaymentRefused(
            Reason.REQUIREMENTS, f"accepted.{name} is not what is offered; sign the new offer"
        )


def check_window(authorization: Authorization, now_seconds: int, min_left_seconds: int = 0) -> None:
    """The authorization holds now, and for so long still."""
    if authorization.valid_after > now_seconds:
        raise PaymentRefused(Reason.VALID_AFTER, "`validAfter` is still to come")
    needed = now_seconds + max(1, min_left_seconds)
    if authorization.valid_before < needed:
        raise PaymentRefused(Reason.VALID_BEFORE, f"`validBefore` must be {needed} or later")


def check_signature(payload: PaymentPayload, offer: Offer) -> None:
    """The payer's own key has signed it, for this token on this chain."""
    if payload.authorization is None:
        raise PaymentRefused(Reason.PAYLOAD, "payload.authorization is missing")
    digest = transfer_digest(payload.authorization, domain_of(offer))
    if recover(digest, payload.signature) != payload.authorization.payer:
        raise PaymentRefused(
            Reason.SIGNATURE, "The signature is not `from`'s for this token on this network"
        )


def _difference(accepted: RequirementsV2, offer: Offer) -> str | None:
    """The first field in which what was accepted is not the offer.

    As in published servers, `extra` may have grown on the way, but must not have changed.
    """
    same_address = _same_evm if offer.network.startswith(f"{EVM}:") else _same
    extra = accepted.extra or {}
    same = {
        "asset": same_address(accepted.asset, offer.asset),
        "payTo": same_address(accepted.pay_to, offer.pay_to),
        "amount": accepted.amount == str(offer.amount),
        "maxTimeoutSeconds": accepted.max_timeout_seconds == offer.max_timeout_seconds,
        "extra": all(extra.get(name) == value for name, value in offer.extra.items()),
    }
    return next((name for name, holds in same.items() if not holds), None)


def _same(one: str, other: str) -> bool:
    return one == other


def _same_evm(one: str, other: str) -> bool:
    return one.lower() == other.lower()
