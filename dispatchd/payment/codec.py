"""From headers and bodies of x402 to payments and offers, and back; whatever arrives is answered.

Everything that cannot be read is a `PaymentRefused` with the code that clients know.
"""

import base64
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import EVM, SOLANA, Offer, Reason, Settlement
from dispatchd.core.sentence import plain_sentence
from dispatchd.payment.chains import caip2_of, is_caip2
from dispatchd.payment.payload import Authorization, PaymentPayload
from dispatchd.payment.shapes import (
    UINT256_MAX,
    EvmPayloadJson,
    PaymentV1,
    PaymentV2,
    RequirementsV1,
    RequirementsV2,
    SolanaPayloadJson,
    is_address,
)

_T = TypeVar("_T")

PAYMENT_SIGNATURE = "PAYMENT-SIGNATURE"
X_PAYMENT = "X-PAYMENT"
PAYMENT_RESPONSE = "PAYMENT-RESPONSE"
X_PAYMENT_RESPONSE = "X-PAYMENT-RESPONSE"
HEADER_CHARS_MAX = 8192
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
            return _from_header(found[0], wanted)
    return None


def parse_payment(text: str | bytes) -> PaymentPayload:
    """A payment's JSON, as `PaymentPayload.text` has it."""
    return _payment(_json_object(text, "The payment"))


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
    asked = _json_object(text, "The body")
    inner, wanted = asked.get("paymentPayload"), asked.get("paymentRequirements")
    if not isinstance(inner, dict):
        raise PaymentRefused(Reason.PAYLOAD, "paymentPayload must be an object")
    payload = _payment(inner)
    if asked.get("x402Version", payload.version) != payload.version:
        raise PaymentRefused(Reason.VERSION, "x402Version differs from paymentPayload's")
    return payload, parse_offer(wanted, payload.version)


def parse_offer(wanted: object, version: int) -> Offer:
    """An offer of either version, from decoded JSON."""
    found: RequirementsV1 | RequirementsV2
    if version == _V1:
        found = _shaped(wanted, RequirementsV1, Reason.REQUIREMENTS)
        amount = found.max_amount_required
    else:
        found = _shaped(wanted, RequirementsV2, Reason.REQUIREMENTS)
        amount = found.amount
    network = _network(found.network, version)
    if network.startswith(f"{EVM}:") and not (is_address(found.asset) and is_address(found.pay_to)):
        raise PaymentRefused(Reason.REQUIREMENTS, "asset and payTo must be addresses")
    return Offer(
        scheme=found.scheme,
        network=network,
        asset=found.asset,
        amount=_uint256(amount, "amount", Reason.REQUIREMENTS),
        pay_to=found.pay_to,
        max_timeout_seconds=found.max_timeout_seconds,
        extra={k: v for k, v in (found.extra or {}).items() if isinstance(v, str)},
    )


def requirements_v2(offer: Offer) -> dict[str, object]:
    """An offer as version 2 writes it."""
    return {
        "scheme": offer.scheme,
        "network": offer.network,
        "amount": str(offer.amount),
        "asset": offer.asset,
        "payTo": offer.pay_to,
        "maxTimeoutSeconds": offer.max_timeout_seconds,
        "extra": offer.extra,
    }


def requirements_v1(
    offer: Offer, network_name: str, resource_url: str, description: str
) -> dict[str, object]:
    """An offer as version 1 writes it."""
    return {
        "scheme": offer.scheme,
        "network": network_name,
        "payTo": offer.pay_to,
        "asset": offer.asset,
        "maxAmountRequired": str(offer.amount),
        "resource": resource_url,
        "description": description,
        "mimeType": "application/json",
        "maxTimeoutSeconds": offer.max_timeout_seconds,
        "extra": offer.extra,
    }


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


def encode_header(value: object) -> str:
    """A header's value: base64 of compact JSON."""
    return base64.b64encode(msgspec.json.encode(value)).decode()


def decode_header(value: str, what: str) -> dict[str, Any]:
    """The JSON object in a header's value; raises `PaymentRefused` where there is none."""
    if len(value) > HEADER_CHARS_MAX:
        raise PaymentRefused(Reason.PAYLOAD, f"{what} is longer than {HEADER_CHARS_MAX} characters")
    try:
        raw = base64.b64decode(value.strip(" \t"), validate=True)
    except ValueError:
        raise PaymentRefused(Reason.PAYLOAD, f"{what} is not base64") from None
    return _json_object(raw, what)


def _from_header(value: str, what: str) -> PaymentPayload:
    return _payment(decode_header(value, what))


def _json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """Decoded JSON that can be encoded again, so that every reader of it sees the same."""
    try:
        raw = text.encode() if isinstance(text, str) else text
        value = msgspec.json.decode(raw.decode())
        msgspec.json.encode(value)
    except (ValueError, RecursionError):
        raise PaymentRefused(Reason.PAYLOAD, f"{what} is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise PaymentRefused(Reason.PAYLOAD, f"{what} is not a JSON object")
    return value


def _payment(value: dict[str, Any]) -> PaymentPayload:
    version = value.get("x402Version")
    if type(version) is not int or version not in {_V1, _V2}:
        raise PaymentRefused(Reason.VERSION, "x402Version must be 1 or 2")
    found: PaymentV1 | PaymentV2
    if version == _V1:
        found = _shaped(value, PaymentV1, Reason.PAYLOAD)
        terms: PaymentV1 | RequirementsV2 = found
    else:
        found = _shaped(value, PaymentV2, Reason.PAYLOAD)
        terms = found.accepted
    if terms.scheme != _EXACT:
        raise PaymentRefused(Reason.SCHEME, "scheme must be exact")
    bare = PaymentPayload(
        version=version,
        scheme=terms.scheme,
        network=_network(terms.network, version),
        network_name=terms.network,
        text=msgspec.json.encode(value).decode(),
        accepted=terms if isinstance(terms, RequirementsV2) else None,
    )
    return _with_payload(bare, found.payload)


def _with_payload(bare: PaymentPayload, inner: dict[str, Any]) -> PaymentPayload:
    """The payment with what pays on its kind of network."""
    if bare.network.startswith(f"{SOLANA}:"):
        solana = _shaped(inner, SolanaPayloadJson, Reason.PAYLOAD, "payload.")
        return msgspec.structs.replace(bare, transaction=solana.transaction)
    evm = _shaped(inner, EvmPayloadJson, Reason.PAYLOAD, "payload.")
    given = evm.authorization
    return msgspec.structs.replace(
        bare,
        signature=bytes.fromhex(evm.signature[2:]),
        authorization=Authorization(
            payer=given.from_.lower(),
            to=given.to.lower(),
            value=_uint256(given.value, "value"),
            valid_after=_uint256(given.valid_after, "validAfter"),
            valid_before=_uint256(given.valid_before, "validBefore"),
            nonce=given.nonce.lower(),
        ),
    )


def _network(name: str, version: int) -> str:
    """The CAIP-2 identifier of a network that can be paid on."""
    network = caip2_of(name) if version == _V1 else (name if is_caip2(name) else None)
    if network is None or network.partition(":")[0] not in {EVM, SOLANA}:
        raise PaymentRefused(Reason.NETWORK, "The network is not known")
    return network


def _uint256(text: str, name: str, reason: Reason = Reason.PAYLOAD) -> int:
    number = int(text)
    if number > UINT256_MAX:
        raise PaymentRefused(reason, f"{name} is more than 256 bits")
    return number


def _shaped(value: object, shape: type[_T], reason: Reason, where: str = "") -> _T:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise PaymentRefused(reason, f"{where}{plain_sentence(error)}") from None
