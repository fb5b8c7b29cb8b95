"""The tokens of JSON and of what people and programs write in its place, each with its JSON.

Beyond RFC 8259 it reads single and typographic quotes, line breaks in strings, bare keys, comments,
the constants of Python and JavaScript (what is no number there is null, as JSON.stringify has it),
tuples, and other white space.
"""

import json
import re
from math import isfinite
from types import MappingProxyType

from msgspec import Struct

from dispatchd.engine.text import whole

_TOKEN = re.compile(
    r"""(?:[\s\ufeff]++|//[^\n]*+|\#[^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z))*+(?:
        (?P<mark>[\[\]{}(),:])
      | (?:[ubUB](?=['"]))?+(?:
            (?P<double>"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z))
          | (?P<single>'(?:[^'\\\n]++|\\.|'(?!\s*+(?:[,:\]})/\#]|\Z)))*+
              (?:'(?P<closed>)|\\?\Z|(?=\n)))
          | (?P<curly>“[^”\n]*+”?+)
        )
      | (?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)
      | (?P<word>-?[^\W\d][\w$.-]*+|\$[\w$.-]++)
      | (?P<end>\Z|```)
      | (?P<junk>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_CONSTANTS = MappingProxyType(
    {
        **dict.fromkeys(("true", "True"), "true"),
        **dict.fromkeys(("false", "False"), "false"),
        **dict.fromkeys(("null", "None", "undefined"), "null"),
        **dict.fromkeys(("NaN", "nan", "Infinity", "inf", "-Infinity", "-inf"), "null"),
    }
)
_CONSTANT_CUT = re.compile("t(r(u)?)?|f(a(l(s)?)?)?|n(u(l)?)?", re.IGNORECASE)
_PLAIN = re.compile('[^"\\\\\x00-\x1f\ud800-\udfff]*')
_ESCAPE = re.compile(
    r"\\(?:u(?P<u>[0-9a-fA-F]{4})|x(?P<x>[0-9a-fA-F]{2})|U(?P<U>00[01][0-9a-fA-F]{5})|(?P<one>.)|\Z)",
    re.DOTALL,
)
_UNICODE_MAX = 0x10FFFF
_ESCAPED = MappingProxyType(
    {
        **{mark: mark for mark in "\"'\\/"},
        "b": "\b",
        "f": "\f",
        "n": "\n",
        "r": "\r",
        "t": "\t",
        "\n": "",
    }
)

STRING, VALUE, WORD, END, JUNK = "s", "v", "w", "$", "?"


class Token(Struct):
    """What stands at a place, white space and comments before it left out.

    `kind` is the mark itself or one of the names above; `json` what it is in JSON, `source` what
    it would be as a bare key. A string is `cut` where the text ends before its closing quote.
    """

    kind: str
    end: int
    json: str
    source: str = ""
    cut: bool = False


def read_token(text: str, position: int) -> Token:
    """The token that begins at the position or after the space there; JUNK where none does.

    Every character that had to be read for it is before its end.
    """
    found = _TOKEN.match(text, position)
    assert found is not None  # noqa: S101 # JUNK is any character, END what follows the last
    group, end = found.lastgroup or "", found.end()
    source = found[group]
    match group:
        case "mark":
            return Token(source, end, source)
        case "number":
            return Token(VALUE, end, source if isfinite(float(source)) else "null", source)
        case "word" if source in _CONSTANTS:
            return Token(VALUE, end, _CONSTANTS[source], source)
        case "word" if end == len(text) and _CONSTANT_CUT.fullmatch(source):
            return Token(END, end, "")
        case "word":
            return Token(WORD, end, "", source)
        case "end":
            return Token(END, found.start(group), "")
        case "junk":
            return Token(JUNK, end, "")
        # A quote that its line does not close opens nothing. It ends where the reading ended, or
        # each of many such quotes would be read to the end of their line uncounted.
        case "single" if found["closed"] is None and end < len(text):
            return Token(JUNK, end, "")
        case "curly" if source[-1] != "”":
            return Token(JUNK, end, "")
        case _:
            return _string(source, end)


def string_json(text: str) -> str:
    """The JSON of a string, lone surrogates made U+FFFD."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return json.dumps(whole(text), ensure_ascii=False)


def _string(source: str, end: int) -> Token:
    closing = "”" if source[0] == "“" else source[0]
    cut = len(source) == 1 or source[-1] != closing or _ends_escaped(source)
    if cut and "\n" in source:
        return Token(JUNK, end, "")  # a quote that opens nothing, far from the text's end
    body = source[1:] if cut else source[1:-1]
    return Token(STRING, end, string_json(_ESCAPE.sub(_unescaped, body)), cut=cut)


def _ends_escaped(source: str) -> bool:
    """Whether the last quote belongs to an escape, so that the string has no end."""
    before = source[1:-1]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _unescaped(escape: re.Match[str]) -> str:
    if digits := escape["u"] or escape["x"] or escape["U"]:
        code = int(digits, 16)
        return chr(code) if code <= _UNICODE_MAX else escape[0]
    # An escape that nobody knows is a backslash that was not escaped, as in a Windows path.
    return _ESCAPED.get(escape["one"] or "", escape[0] if escape["one"] else "")
