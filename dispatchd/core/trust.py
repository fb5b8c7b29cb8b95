"""Pairing a user with a worker: the code that is shown once, and what comes of it."""

from msgspec import Struct

from dispatchd.core.job import Millis


def claim_text(code: str, provider_pubkey: str) -> bytes:
    """What a worker signs to show that it claims a code itself; its key in lower-case hex."""
    return f"dispatchd pairing claim v1\n{code}\n{provider_pubkey}".encode()


class PairingCode(Struct, frozen=True):
    """A code with which a worker's owner can claim a user's trust until it expires."""

    code: str
    user_id: str
    expires_at: Millis


class Pairing(Struct, frozen=True):
    """A user trusts the worker with this key."""

    user_id: str
    provider_pubkey: str
    paired_at: Millis
