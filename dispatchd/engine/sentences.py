"""A text cut into its sentences, in any script that ends them with a mark.

pysbd, the usual library, was tried: its last release is of 2021, and its time grows with the square
of the text (14,000 characters take a second).
"""

import re
from collections.abc import Iterator

from msgspec import Struct

# Full-width marks end a sentence by themselves; the others need a space after them.
_END = re.compile(
    r"""[。！？｡]+[」』）”’"']*
      | (?<![.!?…‽؟۔।॥])[.!?…‽؟۔।॥]++["'”’»)\]]*+(?=\s|$)
      | \n\s*\n
      | \n(?=[ \t]*(?:[-*•–]|\d{1,3}[.)])[ \t])""",
    re.VERBOSE,
)
_TITLE = re.compile(
    r"""(?:^|[\s("'“])
        (?:mr|mrs|ms|dr|dra|prof|st|sr|sra|srta|mme|mlle|hr|sig|dott|gen|col|gov|sen|rep|capt|lt
          |sgt|rev|hon|mt|vs|fig|figs|vol|approx|cf|bzw|ud|uds
          |jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.$
      | \n\s*\d{1,2}\.$""",
    re.IGNORECASE | re.VERBOSE,
)
# These may also be the last word of a sentence; what follows tells.
_ABBREVIATION = re.compile(
    r"""(?:^|[\s("'“])(?:[^\W\d_]|(?:[^\W\d_]\.)+[^\W\d_]|jr|etc|inc|ltd|co|corp|al|ph\.d)\.$""",
    re.IGNORECASE | re.VERBOSE,
)
_STARTER = re.compile(
    r"""\s+(?:the|this|that|these|those|it|he|she|we|they|you|in|on|at|but|and|however|when|while|if
      |as|an|my|his|her|its|their|our|there|for|after|before|some|many|most|all|what|who|how|why
      |der|die|das|er|sie|es|wir|el|la|los|las|le|les|il|elle|nous|un|une)\s""",
    re.IGNORECASE | re.VERBOSE,
)
_BEFORE_NUMBER = re.compile(
    r"(?:^|[\s(])(?:no|nr|nos|pp?|ca|c|vol|ch|art|sec|eq)\.$", re.IGNORECASE
)
_ORDINAL = re.compile(r"(?:^|\s)\d{1,2}\.$")
_MONTH = re.compile(r"\s+(?:jan|feb|mär|mar|apr|ma[ij]|jun|jul|aug|sep|okt|nov|dez)", re.IGNORECASE)
_NEAR_CHARS = 16


class Sentence(Struct, frozen=True):
    """A sentence, white space made single, and whether it stands first in its paragraph."""

    text: str
    opens: bool


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences in order; a blank line and the next item of a list end one, too."""
    for start, end in _spans(text):
        piece = text[start:end]
        sentence = " ".join(piece.split())
        if any(map(str.isalnum, sentence)):
            before = piece[: len(piece) - len(piece.lstrip())]
            yield Sentence(sentence, start == 0 or "\n" in before or text[start - 1] == "\n")


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for mark in _END.finditer(text):
        if not _goes_on(text, mark.end()):
            yield start, mark.end()
            start = mark.end()
    yield start, len(text)


def _goes_on(text: str, end: int) -> bool:
    """Whether the mark before `end` stands inside a sentence, as after an abbreviation."""
    last, after = text[end - 1], text[end : end + _NEAR_CHARS]
    if last in "\n。！？｡!?؟۔।॥‽":
        return False
    if _is_small(after.lstrip()[:1]):
        return True
    if last not in ".…":
        return False
    before = text[max(0, end - _NEAR_CHARS) : end]
    if _TITLE.search(before):
        return True
    if after.lstrip()[:1].isdigit() and _BEFORE_NUMBER.search(before):
        return True
    if _ORDINAL.search(before) and _MONTH.match(after):
        return True
    return _ABBREVIATION.search(before) is not None and _STARTER.match(after) is None


def _is_small(letter: str) -> bool:
    """Whether a sentence would not begin with it; Georgian ones begin with small letters, too."""
    return letter.islower() and letter.title() != letter
