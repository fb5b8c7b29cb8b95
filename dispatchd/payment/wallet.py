"""A key that pays: signs authorizations for exact amounts and writes them as headers."""

from typing import Any, Self

from coincurve import PrivateKey

from dispatchd.core.errors import Invalid
from dispatchd.core.payment import EVM, Offer
from dispatchd.payment.chains import legacy_name
from dispatchd.payment.codec import PAYMENT_SIGNATURE, X_PAYMENT
from dispatchd.payment.demand import Demand
from dispatchd.payment.eip712 import domain_of, transfer_digest
from dispatchd.payment.header import encode_header
from dispatchd.payment.payload import Authorization
from dispatchd.payment.shapes import UINT256_MAX
from dispatchd.payment.signature import address_of, checksummed
from dispatchd.payment.terms import requirements_v2

NONCE_BYTES = 32
_KEY_BYTES = 32
_V_OFFSET = 27
_V1, _V2 = 1, 2


class Wallet:
    """An account on every EVM chain."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.address = checksummed(address_of(key.public_key))

    @classmethod
    def from_key(cls, text: str) -> Self:
        """Reads a private key of 64 hex digits; raises `Invalid`, never showing the key."""
        digits = text.removeprefix("0x")
        try:
            raw = bytes.fromhex(digits) if len(digits) == 2 * _KEY_BYTES else b""
            return cls(PrivateKey(raw)) if len(raw) == _KEY_BYTES else cls._refuse()
        except ValueError:
            return cls._refuse()

    def __repr__(self) -> str:
        """Says whose, never the key."""
        return f"<Wallet {self.address}>"

    def sign(
        self,
        offer: Offer,
        version: int,
        now_seconds: int,
        *,
        nonce: bytes,
        resource_url: str | None = None,
    ) -> str:
        """The header's value that pays an offer of ours, in a version of x402.

        `nonce` is 32 random bytes; the same one never pays twice. Raises `Invalid` for an offer
        that cannot be signed.
        """
        name = (legacy_name(offer.network) if version == _V1 else None) or offer.network
        resource = {"url": resource_url} if resource_url else None
        demand = Demand(version, offer, name, requirements_v2(offer), resource)
        return self.pay(demand, now_seconds, nonce=nonce)[1]

    def pay(self, demand: Demand, now_seconds: int, *, nonce: bytes) -> tuple[str, str]:
        """The name and the value of the header that pays what a server demands."""
        inner = self._signed(demand.offer, now_seconds, nonce)
        if demand.version == _V1:
            offer = {"scheme": demand.offer.scheme, "network": demand.network_name}
            return X_PAYMENT, encode_header({"x402Version": _V1} | offer | {"payload": inner})
        repeated = {"resource": demand.resource, "extensions": demand.extensions}
        said = {name: value for name, value in repeated.items() if value is not None}
        payment = {"x402Version": _V2} | said | {"accepted": demand.accepted, "payload": inner}
        return PAYMENT_SIGNATURE, encode_header(payment)

    def _signed(self, offer: Offer, now_seconds: int, nonce: bytes) -> dict[str, Any]:
        """The inner payload, which both versions write alike."""
        if not offer.network.startswith(f"{EVM}:") or len(nonce) != NONCE_BYTES:
            raise Invalid(f"A payment on {offer.network} cannot be signed here")
        if offer.amount > UINT256_MAX:
            raise Invalid("The amount is more than 256 bits")
        authorization = Authorization(
            payer=self.address.lower(),
            to=offer.pay_to.lower(),
            value=offer.amount,
            valid_after=0,
            valid_before=now_seconds + offer.max_timeout_seconds,
            nonce="0x" + nonce.hex(),
        )
        signature = self._sign_digest(transfer_digest(authorization, domain_of(offer)))
        return {
            "signature": "0x" + signature.hex(),
            "authorization": {
                "from": self.address,
                "to": offer.pay_to,
                "value": str(offer.amount),
                "validAfter": "0",
                "validBefore": str(authorization.valid_before),
                "nonce": authorization.nonce,
            },
        }

    def _sign_digest(self, digest: bytes) -> bytes:
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes([raw[64] + _V_OFFSET])

    @classmethod
    def _refuse(cls) -> Self:
        raise Invalid("A private key is 64 hex digits, and not zero")
