"""Whose signature it is: secp256k1 with the strictness of the tokens' contracts."""

from coincurve import PublicKey

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import Reason
from dispatchd.payment.eip712 import keccak256

SIGNATURE_BYTES = 65
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_ADDRESS_BYTES = 20
_V_OFFSET = 27


def recover(digest: bytes, signature: bytes) -> str:
    """The address that signed, in lower case; raises `PaymentRefused` for a bad signature.

    Of the two signatures that anybody can make out of one, only that with the low s is taken.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise _refused(f"The signature must be {SIGNATURE_BYTES} bytes")
    r, s, v = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64]), signature[64]
    parity = v - _V_OFFSET if v >= _V_OFFSET else v
    if parity not in {0, 1}:
        raise _refused("The signature's v must be 0, 1, 27 or 28")
    if not (0 < r < _ORDER and 0 < s <= _ORDER // 2):
        raise _refused("The signature's r or s is out of range")
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([parity]), digest, hasher=None
        )
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception where no point fits r
        raise _refused("The signature belongs to no key") from None
    return address_of(key)


def address_of(key: PublicKey) -> str:
    """The address of a public key, in lower case."""
    return "0x" + keccak256(key.format(compressed=False)[1:])[-_ADDRESS_BYTES:].hex()


def checksummed(address: str) -> str:
    """An address in the mixed case of EIP-55."""
    digits = address[2:].lower()
    shades = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if shade >= "8" else digit
        for digit, shade in zip(digits, shades, strict=False)
    )


def _refused(detail: str) -> PaymentRefused:
    return PaymentRefused(Reason.SIGNATURE, detail)
