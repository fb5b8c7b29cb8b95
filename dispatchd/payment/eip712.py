"""The one EIP-712 structure that x402 signs: EIP-3009's TransferWithAuthorization."""

from Crypto.Hash import keccak
from msgspec import Struct

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import Offer, Reason
from dispatchd.payment.chains import chain_id
from dispatchd.payment.payload import Authorization

_WORD_BYTES = 32
_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_TRANSFER_TYPE = (
    b"TransferWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


class Domain(Struct, frozen=True):
    """Which contract on which chain a signature is for."""

    name: str
    version: str
    chain_id: int
    contract: str


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash, which is Keccak from before its standard."""
    return keccak.new(digest_bits=256, data=data).digest()


def domain_of(offer: Offer) -> Domain:
    """The domain of an offer's token; raises `PaymentRefused` where the offer does not say it."""
    number, name, version = chain_id(offer.network), *map(offer.extra.get, ("name", "version"))
    if number is None or name is None or version is None:
        raise PaymentRefused(Reason.REQUIREMENTS, "extra must have the token's name and version")
    return Domain(name, version, number, offer.asset)


def transfer_digest(authorization: Authorization, domain: Domain) -> bytes:
    """The 32 bytes that are signed."""
    struct = keccak256(
        keccak256(_TRANSFER_TYPE)
        + _word(authorization.payer)
        + _word(authorization.to)
        + _number(authorization.value)
        + _number(authorization.valid_after)
        + _number(authorization.valid_before)
        + _word(authorization.nonce)
    )
    return keccak256(b"\x19\x01" + _separator(domain) + struct)


def _separator(domain: Domain) -> bytes:
    return keccak256(
        keccak256(_DOMAIN_TYPE)
        + keccak256(domain.name.encode())
        + keccak256(domain.version.encode())
        + _number(domain.chain_id)
        + _word(domain.contract)
    )


def _word(text: str) -> bytes:
    return bytes.fromhex(text[2:]).rjust(_WORD_BYTES, b"\0")


def _number(value: int) -> bytes:
    return value.to_bytes(_WORD_BYTES)
