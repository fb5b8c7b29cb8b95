"""Where a backend is, and the key that it wants."""

from typing import Self

from msgspec import Struct
from yarl import URL

from dispatchd.core.address import http_address
from dispatchd.core.errors import Unusable

KEY_VARIABLE = "DISPATCHD_BACKEND_KEY"
"""The environment variable that holds the key, since what is on a command line others can read."""


class BackendAddress(Struct, frozen=True):
    """The address that paths are added to; an empty key is none."""

    url: str
    key: str = ""

    def __repr__(self) -> str:
        """Without the key, since reprs end up in logs."""
        return f"BackendAddress({self.url!r})"

    @classmethod
    def of(cls, url: str, key: str) -> Self:
        """Checks both; raises `Unusable`, whose sentence repeats neither."""
        address, key = http_address(url), key.strip()
        if address is None:
            raise Unusable("--base-url is no http address; use e.g. http://127.0.0.1:8000/v1")
        if URL(address).user is not None or URL(address).password is not None:
            raise Unusable(f"--base-url must not hold a key: give it in {KEY_VARIABLE}")
        if not (key.isascii() and key.isprintable()):
            raise Unusable(f"{KEY_VARIABLE} holds characters that no key has")
        return cls(address, key)
