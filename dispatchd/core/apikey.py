"""API keys: random texts with which users show who they are, and what is kept of them."""

import hashlib
import secrets

_PREFIX = "dispatchd_"
_RANDOM_BYTES = 32


def new_key() -> str:
    """A fresh key: a prefix by which scanners for leaked secrets find it, and 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(key: str) -> bytes:
    """What is stored of a key: its SHA-256, 32 bytes.

    Slow and salted hashes are for secrets that can be guessed. Of 2^256 keys none can, and whoever
    reads the digest learns nothing that opens a door.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def operator_text(coordinator_key: str, user_id: str) -> bytes:
    """What a node's operator signs, with the coordinator's key, to have a user's key made."""
    return f"dispatchd user key v1\n{coordinator_key}\n{user_id}".encode()
