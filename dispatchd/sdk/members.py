"""The members of a JSON object as the texts that stand in it, since hashes are over those."""

import json
import re
from typing import Any

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def members(text: str) -> dict[str, str]:
    """Each member's text exactly as it stands; raises `ValueError` where it is no JSON object."""
    found: dict[str, str] = {}
    position, mark = _mark(text, 0, "{")
    if _mark(text, position, '}"')[1] == "}":
        return found
    while mark != "}":
        name, position = _value(text, position)
        position, _ = _mark(text, position, ":")
        start = _SPACE.match(text, position).end()  # type: ignore[union-attr] # matches anything
        _, position = _value(text, start)
        found[str(name)] = text[start:position]
        position, mark = _mark(text, position, ",}")
    return found


def _value(text: str, position: int) -> tuple[Any, int]:
    start = _SPACE.match(text, position).end()  # type: ignore[union-attr] # matches anything
    return _DECODER.raw_decode(text, start)


def _mark(text: str, position: int, marks: str) -> tuple[int, str]:
    """The position behind the next sign, which must be one of these, and the sign."""
    position = _SPACE.match(text, position).end()  # type: ignore[union-attr] # matches anything
    mark = text[position : position + 1]
    if not mark or mark not in marks:
        raise ValueError(f"expected one of {marks} at character {position}")
    return position + 1, mark
