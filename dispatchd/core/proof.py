"""What a worker signs to prove to one coordinator that it holds the key it registered with.

Format: the protocol's part 2, `prove`.
"""

import re
import secrets

_CHALLENGE_BYTES = 32
_CHALLENGE = re.compile(r"[0-9a-f]{64}")


def new_challenge() -> str:
    """A challenge that nobody has seen before, 64 hex characters."""
    return secrets.token_hex(_CHALLENGE_BYTES)


def is_challenge(text: str) -> bool:
    """Whether a text that somebody sent is a challenge."""
    return _CHALLENGE.fullmatch(text) is not None


def proof_text(worker_id: str, challenge: str, host: str) -> bytes:
    """What is signed. `host` is the `Host` header of the worker's upgrade request.

    The host comes last, so that no choice of the other two makes one coordinator's text another's.
    Bytes of a header that are no UTF-8, which stand as surrogates in `host`, are what they were.
    """
    text = f"dispatchd worker proof v1\n{worker_id}\n{challenge}\n{host}"
    return text.encode(errors="surrogateescape")
