"""Wallets by what people call them on a command line."""

import re
from collections.abc import Iterable

from dispatchd import Wallet
from dispatchd.payment.shapes import is_address
from dispatchd.payment.wallets import development_wallets
from dispatchd.sdk.errors import InvalidRequest

_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_KEY_HINT = (
    "Write it to a file that you alone can read, and give its name:"
    " (umask 077; cat > wallet.key), then --pay wallet.key"
)


def open_wallet(name: str, max_price: str, max_total: str, *, tokens: Iterable[str]) -> Wallet:
    """The wallet of that name; raises `InvalidRequest` and never repeats a key."""
    refuse_key(name)
    if (number := development_number(name)) is not None:
        return Wallet.development(number, max_price, max_total, tokens=tokens)
    if is_address(name):
        hint = "Give the file that holds its private key; `dispatchd wallet list` shows those."
        raise InvalidRequest(f"{name} is no development wallet", hint=hint)
    return Wallet.from_file(name, max_price, max_total, tokens=tokens)


def development_number(name: str) -> int | None:
    """The number of the development wallet that a number or an address means."""
    if name.isascii() and name.isdigit():
        return int(name)
    addresses = [wallet.address.lower() for wallet in development_wallets()]
    return addresses.index(name.lower()) + 1 if name.lower() in addresses else None


def refuse_key(name: str) -> None:
    """Raises `InvalidRequest` for a private key, which other programs could read here."""
    if _KEY.fullmatch(name.strip()):
        sentence = "A private key on the command line is seen by other programs and kept by shells"
        raise InvalidRequest(sentence, hint=_KEY_HINT)
