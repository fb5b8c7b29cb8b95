"""Turns msgspec's findings into sentences for people: the field first, then what it must be."""

import re

_AT = re.compile(r"(?P<what>.*?) - at `\$?\.?(?P<where>[^`]*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_TYPES = re.compile(r"`([a-z]+(?: \| [a-z]+)*)`")
_WORDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
}


def plain_sentence(error: Exception) -> str:
    """A sentence such as `payload.prompt: expected a string, got null`."""
    text = str(error)
    match = _AT.fullmatch(text)
    what, where = (match["what"], match["where"]) if match else (text, "")
    if missing := _MISSING.fullmatch(what):
        return f"{where}.{missing['field']} is missing".lstrip(".")
    what = _TYPES.sub(_in_words, what).replace(" of length >= 1", " that is not empty")
    return f"{where}: {what[:1].lower()}{what[1:]}" if where else what


def _in_words(match: re.Match[str]) -> str:
    return " or ".join(_WORDS.get(name, name) for name in match[1].split(" | "))
