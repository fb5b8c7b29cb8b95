"""ed25519 signing keys and the JSON format of key files."""

import base64
import binascii
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from dispatchd.core.errors import Invalid

_SEED_BYTES = 32
_SIGNATURE_BYTES = 64

Byte = Annotated[int, Meta(ge=0, le=255)]
PublicBytes = Annotated[list[Byte], Meta(min_length=32, max_length=32)]
SecretBytes = Annotated[list[Byte], Meta(min_length=64, max_length=64)]


class _KeyFile(Struct, rename="camel"):
    public_key: PublicBytes
    secret_key: SecretBytes


class KeyPair:
    """The identity of a worker or of a coordinator: an ed25519 key pair.

    The file holds the 32 bytes of the public key and the 64 of the secret key (seed, then public
    key), as tweetnacl and the network's other workers lay them out.
    """

    def __init__(self, signing: SigningKey) -> None:
        self._signing = signing
        self.public_hex = bytes(signing.verify_key).hex()

    @classmethod
    def generate(cls) -> Self:
        """A new key from the system's randomness."""
        return cls(SigningKey.generate())

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Reads a key file; raises `Invalid` where the two keys do not belong together."""
        try:
            file = msgspec.json.decode(text, type=_KeyFile)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Invalid(f"not a key file: {error}") from None
        signing = SigningKey(bytes(file.secret_key[:_SEED_BYTES]))
        public = list(bytes(signing.verify_key))
        if file.public_key != public or file.secret_key[_SEED_BYTES:] != public:
            raise Invalid("not a key file: publicKey is not that of secretKey")
        return cls(signing)

    def print(self) -> bytes:
        """The key file's bytes."""
        public = list(bytes(self._signing.verify_key))
        return msgspec.json.encode(_KeyFile(public, list(bytes(self._signing)) + public))

    def sign(self, message: bytes) -> str:
        """A detached signature, in base64."""
        return base64.b64encode(self._signing.sign(message).signature).decode()


def signature_holds(public_hex: str, message: bytes, signature: str) -> bool:
    """Whether a detached base64 signature over a message was made with that key."""
    try:
        raw = base64.b64decode(signature, validate=True)
        if len(raw) != _SIGNATURE_BYTES:
            return False
        VerifyKey(bytes.fromhex(public_hex)).verify(message, raw)
    except (BadSignatureError, ValueError, binascii.Error):
        return False
    return True
