"""The JSON of x402, versions 1 and 2, as it stands on the wire."""

import re
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta, Struct, field

UINT256_MAX = 2**256 - 1
SIGNATURE_CHARS_MAX = 8192

_ADDRESS = r"^0x[0-9a-fA-F]{40}\Z"
_AMOUNT = r"^(0|[1-9][0-9]{0,77})\Z"
_NONCE = r"^0x[0-9a-fA-F]{64}\Z"
_HEX = r"^0x([0-9a-fA-F]{2})*\Z"
IN_WORDS = MappingProxyType(
    {
        _ADDRESS: "0x and 40 hex digits",
        _AMOUNT: "a whole number in plain decimal digits",
        _NONCE: "0x and 64 hex digits",
        _HEX: "0x and whole bytes in hex",
    }
)
"""What each pattern asks for."""

Address = Annotated[str, Meta(pattern=_ADDRESS)]
Amount = Annotated[str, Meta(pattern=_AMOUNT)]
Nonce = Annotated[str, Meta(pattern=_NONCE)]
Hex = Annotated[str, Meta(pattern=_HEX, max_length=SIGNATURE_CHARS_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Seconds = Annotated[int, Meta(ge=0, le=2**53)]


class AuthorizationJson(Struct, frozen=True, rename="camel"):
    """An EIP-3009 authorization; both versions write it alike."""

    from_: Address = field(name="from")
    to: Address
    value: Amount
    valid_after: Amount
    valid_before: Amount
    nonce: Nonce


class EvmPayloadJson(Struct, frozen=True):
    """What pays on an EVM chain."""

    signature: Hex
    authorization: AuthorizationJson


class SolanaPayloadJson(Struct, frozen=True):
    """What pays on Solana: a partly signed transaction in base64."""

    transaction: Annotated[str, Meta(min_length=1)]


class RequirementsV2(Struct, frozen=True, rename="camel"):
    """An offer of version 2."""

    scheme: str
    network: str
    amount: Amount
    asset: Name
    pay_to: Name
    max_timeout_seconds: Seconds
    extra: dict[str, Any] | None = None


class RequirementsV1(Struct, frozen=True, rename="camel"):
    """An offer of version 1, as far as it says what is asked for."""

    scheme: str
    network: str
    max_amount_required: Amount
    asset: Name
    pay_to: Name
    max_timeout_seconds: Seconds
    extra: dict[str, Any] | None = None


class PaymentV2(Struct, frozen=True):
    """A payment of version 2."""

    accepted: RequirementsV2
    payload: dict[str, Any]


class PaymentV1(Struct, frozen=True):
    """A payment of version 1."""

    scheme: str
    network: str
    payload: dict[str, Any]


def is_address(text: str) -> bool:
    """Whether a text is the address of an EVM account, in either case."""
    return re.search(_ADDRESS, text) is not None
