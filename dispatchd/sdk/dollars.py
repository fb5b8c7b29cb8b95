"""Amounts as people write them, in whole atomic units: millionths of a dollar."""

from decimal import Decimal, InvalidOperation

from dispatchd.core.prices import ATOMIC_PER_USD
from dispatchd.sdk.errors import InvalidRequest

_CHARS_MAX = 40
_DECIMALS = 6
_SHOWN_DECIMALS = 3


def atomic_of(text: str) -> int:
    """`$0.05`, `0.05` or `5` in atomic units; raises `InvalidRequest`."""
    try:
        digits = text.strip().removeprefix("$")
        plain = digits.isascii() and not digits.strip("0123456789.") and len(digits) < _CHARS_MAX
        amount = Decimal(digits if plain else "") * ATOMIC_PER_USD
    except (InvalidOperation, AttributeError):
        raise _invalid(text) from None
    if amount != int(amount):
        raise _invalid(text)
    return int(amount)


def dollars(atomic: int) -> str:
    """Prints an amount as quotes do, `$0.010`, and longer where it would not be exact."""
    whole, rest = divmod(atomic, ATOMIC_PER_USD)
    decimals = f"{rest:0{_DECIMALS}d}".rstrip("0").ljust(_SHOWN_DECIMALS, "0")
    return f"${whole}.{decimals}"


def _invalid(text: object) -> InvalidRequest:
    return InvalidRequest(f"{text!r} is no amount of dollars", hint="Write it like $0.05.")
