"""Where the JSON objects and arrays of a text are, near-misses made good, in linear time.

The usual library for it, json-repair, takes quadratic time on such texts as `["["["`, and makes
values up where a text only looks like JSON. Here a scan starts at a bracket and reads tokens until
that bracket closes or the grammar is broken. On the way it settles every bracket that it passes,
without recursion; only brackets still unsettled, those in strings and comments of something broken,
start another scan. What has settled is written as JSON; no value is guessed.
"""

import re
from collections.abc import Iterator
from types import MappingProxyType

from msgspec import Struct

from dispatchd.worker.tasks.json_tokens import (
    END,
    STRING,
    VALUE,
    WORD,
    Token,
    read_token,
    string_json,
)

# Other people's decoders stop at 128 levels, and the result is put into an object of its own.
DEPTH_MAX = 100
# So often a text may be read over; strings in strings need 2, only a text made for it more.
READINGS_MAX = 8

# What cannot follow is looked at here already, since prose and code are full of braces.
_OPEN = re.compile(r"""\[(?!\s*+[,:)}]) | \{(?=\s*+["'“}\w$/\#\ufeff-])""", re.VERBOSE)
_CLOSING = MappingProxyType({"[": "]", "(": "]", "{": "}"})
_OPENING = MappingProxyType({"]": "[", ")": "(", "}": "{"})

# What may come next: in each state, the kinds of token that the grammar allows, beside the END.
_VALUE = f"[({{{STRING}{VALUE}"
_ITEM = f"{_VALUE}])}}"
_FIRST_KEY = f"{STRING}{VALUE}{WORD}}}"
_KEY = f"{_FIRST_KEY}])"
_COLON = ":"
_AFTER = ",])}"
_FIRST = MappingProxyType({"[": f"{_VALUE}]", "(": f"{_VALUE})", "{": _FIRST_KEY})


class Found(Struct, frozen=True):
    """Where a value stands in the text, and its JSON."""

    start: int
    end: int
    json: str


class _Open(Struct):
    """A bracket that has not closed yet, and its share of the pieces of JSON."""

    start: int
    mark: str
    first: int
    complete: int  # the pieces up to here are the bracket and whole members
    height: int = 1

    @property
    def empty(self) -> bool:
        return self.complete == self.first + 1


class _Settled(Struct, frozen=True):
    """A bracket's value: a run of pieces, and what closes it where the text does not."""

    end: int
    pieces: list[str]
    first: int
    last: int
    closing: str = ""


def find_json(text: str) -> Iterator[Found]:
    """Each value from left to right, the outermost one that is sound whole."""
    brackets = _Brackets(text)
    position = 0
    while bracket := _OPEN.search(text, position):
        start = bracket.start()
        settled = brackets.settled(start)
        if settled is None:
            position = start + 1
            continue
        position = settled.end
        json = "".join(settled.pieces[settled.first : settled.last]) + settled.closing
        yield Found(start, position, json)


class _Brackets:
    """The brackets of a text, each settled once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._settled: dict[int, _Settled | None] = {}
        self._left_chars = READINGS_MAX * (len(text) + 1)

    def settled(self, start: int) -> _Settled | None:
        """The value that begins there; None where there is none."""
        if start not in self._settled and self._left_chars > 0:
            scan = _Scan(self._settled)
            end = scan.read(self._text, start, start + self._left_chars)
            self._left_chars -= end - start
        return self._settled.get(start)


class _Scan:
    """Reads from one bracket to its end, or to where it proves to be none."""

    def __init__(self, settled: dict[int, _Settled | None]) -> None:
        self._settled = settled
        self._open: list[_Open] = []
        self._pieces: list[str] = []
        self._expected = _VALUE

    def read(self, text: str, start: int, limit: int) -> int:
        """Settles the bracket at `start` and all that are passed; where the reading ended."""
        position = start
        while position <= limit:
            token = read_token(text, position)
            position = token.end
            if not self._take(token) or not self._open:
                break
        for bracket in self._open:
            self._settled[bracket.start] = None
        return position

    def _take(self, token: Token) -> bool:
        """Goes on by a token; False where the grammar does not allow it."""
        kind = token.kind
        if kind == END:
            return self._close_all(token.end)
        if kind not in self._expected:
            return False
        if kind in _CLOSING:
            self._begin_member()
            self._open.append(_Open(token.end - 1, kind, len(self._pieces), len(self._pieces) + 1))
            self._pieces.append("{" if kind == "{" else "[")
            self._expected = _FIRST[kind]
            return True
        if kind in _OPENING:
            return self._close(_OPENING[kind], token.end)
        if kind == ",":
            # It is written with the next member, and so not at all where none comes.
            self._expected = _KEY if self._open[-1].mark == "{" else _ITEM
            return True
        if kind == ":":
            self._pieces.append(":")
            self._expected = _VALUE
            return True
        return self._take_scalar(token)

    def _take_scalar(self, token: Token) -> bool:
        bracket = self._open[-1]
        if WORD in self._expected:
            self._begin_member()
            self._pieces.append(token.json if token.kind == STRING else string_json(token.source))
            self._expected = _COLON
            return True
        if token.cut and bracket.mark != "{" and bracket.empty:
            return False  # more likely a quotation than the only string of a list
        self._begin_member()
        self._pieces.append(token.json)
        self._end_member()
        return True

    def _begin_member(self) -> None:
        if self._open and self._expected is not _VALUE and not self._open[-1].empty:
            self._pieces.append(",")

    def _end_member(self) -> None:
        self._open[-1].complete = len(self._pieces)
        self._expected = _AFTER

    def _close(self, mark: str, end: int) -> bool:
        """Closes the innermost bracket of that mark, and those within that nobody closed."""
        if all(bracket.mark != mark for bracket in reversed(self._open)):
            return False
        while self._close_one(end) != mark:
            pass
        return True

    def _close_one(self, end: int) -> str:
        bracket = self._open.pop()
        self._pieces.append(_CLOSING[bracket.mark])
        self._settle(bracket, _Settled(end, self._pieces, bracket.first, len(self._pieces)))
        if self._open:
            self._end_member()
        return bracket.mark

    def _close_all(self, end: int) -> bool:
        """Closes what the text's end left open, without a member that it cut in two.

        False where not a single member is whole.
        """
        if all(bracket.empty for bracket in self._open):
            return False
        last, closing = self._open[-1].complete, ""
        while self._open:
            bracket = self._open.pop()
            if bracket.height <= DEPTH_MAX:
                closing += _CLOSING[bracket.mark]
            self._settle(bracket, _Settled(end, self._pieces, bracket.first, last, closing))
        return True

    def _settle(self, bracket: _Open, value: _Settled) -> None:
        self._settled[bracket.start] = value if bracket.height <= DEPTH_MAX else None
        if self._open:
            outer = self._open[-1]
            outer.height = max(outer.height, bracket.height + 1)
