"""The API key that a client shows to a coordinator."""

import os
from collections.abc import Mapping

from dispatchd.sdk.errors import InvalidRequest

API_KEY_VARIABLE = "DISPATCHD_API_KEY"


def checked_key(key: str | None) -> str | None:
    """The key, None where it is empty; raises `InvalidRequest`, which does not repeat it."""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise InvalidRequest("The API key holds characters that no key has")
    return key or None


def keys_by_chain(
    given: str | Mapping[str, str] | None, chains: Mapping[str, str]
) -> dict[str, str]:
    """Each coordinator's key: one for all, or one by chain; else the environment's."""
    found = os.environ.get(API_KEY_VARIABLE, "") if given is None else given
    by_chain = dict.fromkeys(chains, found) if isinstance(found, str) else dict(found)
    return {chain: key for chain, one in by_chain.items() if (key := checked_key(one))}
