"""From the headers and bodies of x402 to payments, and back; whatever arrives is answered.

Everything that cannot be read is a `PaymentRefused` with the code that clients know.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import SOLANA, Offer, Reason, Settlement
from dispatchd.payment.header import decode_header, encode_header, json_object, shaped
from dispatchd.payment.payload import Authorization, PaymentPayload
from dispatchd.payment.shapes import (
    EvmPayloadJson,
    PaymentV1,
    PaymentV2,
    RequirementsV2,
    SolanaPayloadJson,
)
from dispatchd.payment.terms import (
    network_of,
    parse_offer,
    requirements_v1,
    requirements_v2,
    uint256,
)

PAYMENT_SIGNATURE = "PAYMENT-SIGNATURE"
X_PAYMENT = "X-PAYMENT"
PAYMENT_RESPONSE = "PAYMENT-RESPONSE"
X_PAYMENT_RESPONSE = "X-PAYMENT-RESPONSE"
_V1, _V2 = 1, 2
_EXACT = "exact"


def read_payment(headers: Mapping[str, str]) -> PaymentPayload | None:
    """The payment in a request's headers; None where there is none.

    Either header may carry either version; `PAYMENT-SIGNATURE` goes before `X-PAYMENT`.
    """
    for wanted in (PAYMENT_SIGNATURE, X_PAYMENT):
        found = [value for name, value in headers.items() if name.upper() == wanted]
        if len(found) > 1:
            raise PaymentRefused(Reason.PAYLOAD, f"{wanted} is given more than once")
        if found:
            return _payment(decode_header(found[0], wanted))
    return None


def parse_payment(text: str | bytes) -> PaymentPayload:
    """A payment's JSON, as `PaymentPayload.text` has it."""
    return _payment(json_object(text, "The payment"))


def facilitator_request(payload: PaymentPayload, offer: Offer, resource_url: str) -> bytes:
    """What a facilitator is asked, in the payment's version and with its network's name."""
    if payload.version == _V2:
        wanted = requirements_v2(offer)
    else:
        wanted = requirements_v1(offer, payload.network_name, resource_url, "")
    return msgspec.json.encode(
        {
            "x402Version": payload.version,
            "paymentPayload": Raw(payload.text.encode()),
            "paymentRequirements": wanted,
        }
    )


def parse_facilitator_request(text: str | bytes) -> tuple[PaymentPayload, Offer]:
    """What a server asks a facilitator, in either version."""
    asked = json_object(text, "The body")
    inner, wanted = asked.get("paymentPayload"), asked.get("paymentRequirements")
    if not isinstance(inner, dict):
        raise PaymentRefused(Reason.PAYLOAD, "paymentPayload must be an object")
    payload = _payment(inner)
    if asked.get("x402Version", payload.version) != payload.version:
        raise PaymentRefused(Reason.VERSION, "x402Version differs from paymentPayload's")
    return payload, parse_offer(wanted, payload.version)


def response_headers(settlement: Settlement, network_name: str | None = None) -> dict[str, str]:
    """How a payment ended, in both versions; `network_name` is what version 1 calls the network.

    Published clients need `transaction` and `network` in a refusal too.
    """
    return {
        PAYMENT_RESPONSE: encode_header(settlement_json(settlement, settlement.network)),
        X_PAYMENT_RESPONSE: encode_header(
            settlement_json(settlement, network_name or settlement.network)
        ),
    }


def settlement_json(settlement: Settlement, network_name: str) -> dict[str, object]:
    """How a payment ended, as facilitators and response headers write it."""
    said: dict[str, object] = {"success": settlement.success}
    if not settlement.success:
        said["errorReason"] = settlement.reason or Reason.SETTLE_ERROR
        said |= {"errorMessage": settlement.detail} if settlement.detail else {}
    said |= {"transaction": settlement.transaction or "", "network": network_name}
    return said | ({"payer": settlement.payer} if settlement.payer else {})


def _payment(value: dict[str, Any]) -> PaymentPayload:
    version = value.get("x402Version")
    if type(version) is not int or version not in {_V1, _V2}:
        raise PaymentRefused(Reason.VERSION, "x402Version must be 1 or 2")
    found: PaymentV1 | PaymentV2
    if version == _V1:
        found = shaped(value, PaymentV1, Reason.PAYLOAD)
        terms: PaymentV1 | RequirementsV2 = found
    else:
        found = shaped(value, PaymentV2, Reason.PAYLOAD)
        terms = found.accepted
    if terms.scheme != _EXACT:
        raise PaymentRefused(Reason.SCHEME, "scheme must be exact")
    bare = PaymentPayload(
        version=version,
        scheme=terms.scheme,
        network=network_of(terms.network, version),
        network_name=terms.network,
        text=msgspec.json.encode(value).decode(),
        accepted=terms if isinstance(terms, RequirementsV2) else None,
    )
    return _with_payload(bare, found.payload)


def _with_payload(bare: PaymentPayload, inner: dict[str, Any]) -> PaymentPayload:
    """The payment with what pays on its kind of network."""
    if bare.network.startswith(f"{SOLANA}:"):
        solana = shaped(inner, SolanaPayloadJson, Reason.PAYLOAD, "payload.")
        return msgspec.structs.replace(bare, transaction=solana.transaction)
    evm = shaped(inner, EvmPayloadJson, Reason.PAYLOAD, "payload.")
    given = evm.authorization
    return msgspec.structs.replace(
        bare,
        signature=bytes.fromhex(evm.signature[2:]),
        authorization=Authorization(
            payer=given.from_.lower(),
            to=given.to.lower(),
            value=uint256(given.value, "value"),
            valid_after=uint256(given.valid_after, "validAfter"),
            valid_before=uint256(given.valid_before, "validBefore"),
            nonce=given.nonce.lower(),
        ),
    )
