"""What is asked for, as versions 1 and 2 of x402 write it."""

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import EVM, SOLANA, Offer, Reason
from dispatchd.payment.chains import caip2_of, is_caip2
from dispatchd.payment.header import shaped
from dispatchd.payment.shapes import UINT256_MAX, RequirementsV1, RequirementsV2, is_address

_V1 = 1


def parse_offer(wanted: object, version: int) -> Offer:
    """An offer of either version, from decoded JSON."""
    found: RequirementsV1 | RequirementsV2
    if version == _V1:
        found = shaped(wanted, RequirementsV1, Reason.REQUIREMENTS)
        amount = found.max_amount_required
    else:
        found = shaped(wanted, RequirementsV2, Reason.REQUIREMENTS)
        amount = found.amount
    network = network_of(found.network, version)
    if network.startswith(f"{EVM}:") and not (is_address(found.asset) and is_address(found.pay_to)):
        raise PaymentRefused(Reason.REQUIREMENTS, "asset and payTo must be addresses")
    return Offer(
        scheme=found.scheme,
        network=network,
        asset=found.asset,
        amount=uint256(amount, "amount", Reason.REQUIREMENTS),
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


def network_of(name: str, version: int) -> str:
    """The CAIP-2 identifier of a network that can be paid on."""
    network = caip2_of(name) if version == _V1 else (name if is_caip2(name) else None)
    if network is None or network.partition(":")[0] not in {EVM, SOLANA}:
        raise PaymentRefused(Reason.NETWORK, "The network is not known")
    return network


def uint256(text: str, name: str, reason: Reason = Reason.PAYLOAD) -> int:
    """A number that is plain decimal already; raises `PaymentRefused` beyond 256 bits."""
    number = int(text)
    if number > UINT256_MAX:
        raise PaymentRefused(reason, f"{name} is more than 256 bits")
    return number
