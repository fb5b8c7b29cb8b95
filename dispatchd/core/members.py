"""The members of a JSON object as raw texts, for texts that our fast parser does not accept."""

import json
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed leaves it out
from typing import NoReturn

_MEMBERS_MAX = 64


class TooManyMembers(ValueError):
    """The object may be fine, but nothing that we expect has so many members."""


def members(text: str) -> dict[str, str]:
    """Splits a JSON object into its members' texts, exactly as they stand.

    Unlike msgspec, this accepts escaped lone surrogates, which RFC 8259 allows and JavaScript
    prints. Raises `ValueError` where the text is no JSON object, or one of very many members.
    """
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        raise ValueError("not a JSON object")
    found: dict[str, str] = {}
    position = _skip(text, position + 1)
    if text[position : position + 1] == "}":
        return _ended(text, position, found)
    for _ in range(_MEMBERS_MAX):
        name, position = _name(text, position)
        start = _skip(text, position)
        _, end = _VALUES.raw_decode(text, start)
        found[name] = text[start:end]
        position = _skip(text, end)
        if text[position : position + 1] == "}":
            return _ended(text, position, found)
        if text[position : position + 1] != ",":
            raise ValueError(f"expected , or }} at character {position}")
        position = _skip(text, position + 1)
    raise TooManyMembers(f"more than {_MEMBERS_MAX} members")


def _name(text: str, position: int) -> tuple[str, int]:
    if text[position : position + 1] != '"':
        raise ValueError(f"expected a member's name at character {position}")
    name, position = scanstring(text, position + 1, True)  # noqa: FBT003 - `strict`
    position = _skip(text, position)
    if text[position : position + 1] != ":":
        raise ValueError(f"expected : at character {position}")
    return name, position + 1


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] in {" ", "\t", "\r", "\n"}:
        position += 1
    return position


def _ended(text: str, position: int, found: dict[str, str]) -> dict[str, str]:
    if _skip(text, position + 1) != len(text):
        raise ValueError("text after the object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_VALUES = json.JSONDecoder(parse_constant=_refuse)
