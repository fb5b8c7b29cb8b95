"""Where the JSON objects and arrays of a text are, found in linear time without recursion.

A scan starts at a bracket and reads JSON until that bracket closes or the grammar is broken; it
settles every bracket that it passes on the way. Only brackets still unsettled, those in strings
of something broken, start another scan, so no character is read more than twice.
"""

import re
from collections.abc import Iterator

# Other people's decoders stop at 128 levels, and the result is put into an object of its own.
DEPTH_MAX = 100
# What Python turns into an int without being asked to.
INTEGER_DIGITS_MAX = 4300

_OPEN = re.compile(r"[\[{]")
_TOKEN = re.compile(
    r"""[ \t\n\r]*+(?:
        (?P<mark>[\[\]{},:])
      | (?P<string>"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")
      | (?P<number>-?(?P<integer>0|[1-9][0-9]*+)(?P<rest>(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+))
      | (?P<word>true|false|null)
    )""",
    re.VERBOSE,
)

# What may come next: in each state, the kinds of token that the grammar allows.
_VALUE = "[{sv"
_FIRST_ITEM = "[{sv]"
_KEY = "s"
_FIRST_KEY = "s}"
_COLON = ":"
_AFTER_ITEM = ",]"
_AFTER_MEMBER = ",}"

_UNSETTLED, _BROKEN = 0, -1


def find_json(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each value, outermost first where it is sound, from left to right."""
    ends = [_UNSETTLED] * len(text)
    position = 0
    while bracket := _OPEN.search(text, position):
        start = bracket.start()
        if ends[start] == _UNSETTLED:
            _scan(text, start, ends)
        if ends[start] == _BROKEN:
            position = start + 1
        else:
            position = ends[start]
            yield start, position


def _scan(text: str, position: int, ends: list[int]) -> None:
    """Settles the bracket at `position` and all that are read as brackets on the way."""
    starts: list[int] = []
    heights: list[int] = []
    expected = _VALUE
    while token := _TOKEN.match(text, position):
        kind, position = _kind(token), token.end()
        if kind not in expected:
            break
        if kind in "[{":
            starts.append(position - 1)
            heights.append(1)
            expected = _FIRST_ITEM if kind == "[" else _FIRST_KEY
            continue
        if kind in "]}":
            height = heights.pop()
            ends[starts.pop()] = position if height <= DEPTH_MAX else _BROKEN
            if not starts:
                return
            heights[-1] = max(heights[-1], height + 1)
        in_array = text[starts[-1]] == "["
        expected = _next(kind, expected, in_array=in_array)
    for start in starts:
        ends[start] = _BROKEN


def _next(kind: str, expected: str, *, in_array: bool) -> str:
    """What may follow a token that is not an opening bracket."""
    if kind == ",":
        return _VALUE if in_array else _KEY
    if kind == ":":
        return _VALUE
    if expected in (_KEY, _FIRST_KEY) and kind == "s":
        return _COLON
    return _AFTER_ITEM if in_array else _AFTER_MEMBER


def _kind(token: re.Match[str]) -> str:
    """The token's mark, `s` for a string, `v` for another value, `?` for one beyond our means."""
    group = token.lastgroup
    if group == "mark":
        return token["mark"]
    if group == "string":
        return "s"
    if group == "word":
        return "v"
    if token["rest"]:
        return "v" if abs(float(token["number"])) != float("inf") else "?"
    return "v" if len(token["integer"]) <= INTEGER_DIGITS_MAX else "?"
