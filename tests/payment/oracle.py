"""eth-account as an independent judge of digests, signatures and addresses."""

from typing import Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_utils.crypto import keccak

from dispatchd.core.payment import Offer

_FIELDS = {
    "from": "address",
    "to": "address",
    "value": "uint256",
    "validAfter": "uint256",
    "validBefore": "uint256",
    "nonce": "bytes32",
}
_DOMAIN = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
}


def message_of(authorization: dict[str, str], offer: Offer) -> SignableMessage:
    """What is signed for an authorization as it stands on the wire."""
    numbers = {name: int(authorization[name]) for name in ("value", "validAfter", "validBefore")}
    return encode_typed_data(
        full_message={
            "primaryType": "TransferWithAuthorization",
            "types": {
                "EIP712Domain": _typed(_DOMAIN),
                "TransferWithAuthorization": _typed(_FIELDS),
            },
            "domain": {
                "name": offer.extra["name"],
                "version": offer.extra["version"],
                "chainId": int(offer.network.partition(":")[2]),
                "verifyingContract": offer.asset,
            },
            "message": authorization | numbers,
        }
    )


def digest_of(authorization: dict[str, str], offer: Offer) -> bytes:
    """The hash of it."""
    message = message_of(authorization, offer)
    return bytes(keccak(b"\x19" + message.version + message.header + message.body))


def signer_of(payment: dict[str, Any], offer: Offer) -> str | None:
    """Who signed a payment, in lower case; None where nobody can have."""
    inner = payment["payload"]
    message = message_of(inner["authorization"], offer)
    try:
        return str(Account.recover_message(message, signature=inner["signature"])).lower()
    except Exception:  # noqa: BLE001 - the oracle has many ways to say no
        return None


def _typed(fields: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in fields.items()]
