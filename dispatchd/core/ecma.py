"""Prints JSON the way ECMAScript's JSON.stringify does, so that readers there hash the same text.

Source: ECMA-262, Number::toString and SerializeJSONProperty. Python's `repr` of a float already
has the shortest digits that read back as the same number; only their layout differs.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

_ARRAY_INDEX_MAX = 2**32 - 2
_EXACT_MAX = 2**53
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_EXPONENT_MAX = 21
_PLAIN_EXPONENT_MIN = -6


def ecma_json(value: Any) -> str:
    """Compact JSON text of a value made of dicts, lists, strings, numbers, booleans and None.

    Lone surrogates become U+FFFD. Raises `ValueError` for NaN, infinities and keys that are no
    strings. Whole numbers beyond 2**53 are printed as the double that a reader there would see.
    """
    return "".join(_pieces(value))


def _pieces(value: Any) -> Iterator[str]:
    match value:
        case None | bool():
            yield {None: "null", True: "true", False: "false"}[value]
        case str():
            yield _string(value)
        case int() | float():
            yield _number(value)
        case dict():
            yield from _object(value)
        case list() | tuple():
            yield from _array(value)
        case _:
            raise ValueError(f"{type(value).__name__} has no JSON form")


def _object(value: dict[str, Any]) -> Iterator[str]:
    yield "{"
    for count, key in enumerate(_own_keys(value)):
        yield f"{',' if count else ''}{_string(key)}:"
        yield from _pieces(value[key])
    yield "}"


def _array(value: list[Any] | tuple[Any, ...]) -> Iterator[str]:
    yield "["
    for count, item in enumerate(value):
        if count:
            yield ","
        yield from _pieces(item)
    yield "]"


def _own_keys(value: dict[str, Any]) -> list[str]:
    """Keys in the order of OrdinaryOwnPropertyKeys: array indices ascending, then the rest."""
    indices = sorted((key for key in value if _is_index(key)), key=int)
    return indices + [key for key in value if not _is_index(key)] if indices else list(value)


def _is_index(key: Any) -> bool:
    if not isinstance(key, str):
        raise ValueError("object keys must be strings")  # noqa: TRY004 - as documented
    if not (key.isascii() and key.isdigit()) or (len(key) > 1 and key[0] == "0"):
        return False
    return len(key) <= len(str(_ARRAY_INDEX_MAX)) and int(key) <= _ARRAY_INDEX_MAX


def _string(text: str) -> str:
    return json.dumps(_LONE_SURROGATE.sub("\ufffd", text), ensure_ascii=False)


def _number(value: float) -> str:
    if isinstance(value, int):
        if abs(value) <= _EXACT_MAX:
            return str(value)
        try:
            value = float(value)
        except OverflowError:
            raise ValueError("number out of range") from None
    if not math.isfinite(value):
        raise ValueError("number out of range")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    digits, point = _decimal(abs(value))
    return sign + _layout(digits, point)


def _decimal(value: float) -> tuple[str, int]:
    """The shortest digits d and the n for which the value is 0.d times 10**n."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    return digits.rstrip("0"), len(whole) - leading + int(exponent or 0)


def _layout(digits: str, point: int) -> str:
    count = len(digits)
    if count <= point <= _PLAIN_EXPONENT_MAX:
        return digits + "0" * (point - count)
    if 0 < point <= _PLAIN_EXPONENT_MAX:
        return f"{digits[:point]}.{digits[point:]}"
    if _PLAIN_EXPONENT_MIN < point <= 0:
        return f"0.{'0' * -point}{digits}"
    exponent = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return digits[0] + (f".{digits[1:]}" if count > 1 else "") + exponent
