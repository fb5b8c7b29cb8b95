"""The one 402 for everybody: version 2 in the header, version 1 and the guide's in the body."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from dispatchd.core.payment import Offer
from dispatchd.core.prices import in_dollars
from dispatchd.payment.chains import legacy_name
from dispatchd.payment.header import encode_header
from dispatchd.payment.terms import requirements_v1, requirements_v2

PAYMENT_REQUIRED = "PAYMENT-REQUIRED"
UNPAID_V1 = "X-PAYMENT header is required"
UNPAID_V2 = "Payment required"
NEVER_KEPT: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Access-Control-Expose-Headers": "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE",
    }
)
"""What stands on every 402 beside the offer."""


def required_header(
    offers: Sequence[Offer], resource_url: str, description: str, error: str | None = None
) -> str:
    """The value of `PAYMENT-REQUIRED`; `error` is the reason of a refusal, None if unpaid."""
    return encode_header(
        {
            "x402Version": 2,
            "error": error or UNPAID_V2,
            "resource": {
                "url": resource_url,
                "description": description,
                "mimeType": "application/json",
            },
            "accepts": [requirements_v2(offer) for offer in offers],
        }
    )


def required_body(
    offers: Sequence[Offer],
    resource_url: str,
    description: str,
    error: str | None = None,
    detail: str | None = None,
    *,
    legacy_names: bool = False,
) -> bytes:
    """The body of a 402; `legacy_names` is for clients that know no CAIP-2."""
    body: dict[str, object] = {"x402Version": 1, "error": error or UNPAID_V1}
    if detail:
        body["detail"] = detail
    body["accepts"] = [
        _guides(offer, resource_url, description, legacy_names=legacy_names) for offer in offers
    ]
    return msgspec.json.encode(body)


def _guides(
    offer: Offer, resource_url: str, description: str, *, legacy_names: bool
) -> dict[str, object]:
    """An offer of version 1 with the two fields that the guide's readers look at."""
    name = (legacy_name(offer.network) if legacy_names else None) or offer.network
    wanted = requirements_v1(offer, name, resource_url, description)
    ahead = {"scheme": offer.scheme, "price": in_dollars(offer.amount)}
    return ahead | wanted | {"amount": str(offer.amount)}
