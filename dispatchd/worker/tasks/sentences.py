"""A text cut into its sentences, in any script that ends them with a mark."""

import re
from collections.abc import Iterator

# Full-width marks end a sentence by themselves; the others need a space after them.
_END = re.compile(
    r"""[。！？｡]+[」』）”’"']*
      | (?<![.!?…‽؟۔।])[.!?…‽؟۔।]++["'”’»)\]]*+(?=\s|$)
      | \n\s*\n""",
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"""(?:^|[\s("'“])
        (?:[^\W\d_]|(?:[^\W\d_]\.)+[^\W\d_]|mr|mrs|ms|dr|prof|st|sr|jr|vs|etc|fig|vol|approx|inc
          |ltd|cf|al|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.$
      | \n\s*\d{1,2}\.$""",
    re.IGNORECASE | re.VERBOSE,
)
_NEAR_CHARS = 16


def sentences(text: str) -> Iterator[str]:
    """The sentences in order, white space made single; a blank line ends one, too."""
    for start, end in _spans(text):
        sentence = " ".join(text[start:end].split())
        if any(map(str.isalnum, sentence)):
            yield sentence


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for mark in _END.finditer(text):
        if not _goes_on(text, mark.end()):
            yield start, mark.end()
            start = mark.end()
    yield start, len(text)


def _goes_on(text: str, end: int) -> bool:
    """Whether the mark before `end` stands inside a sentence, as after an abbreviation."""
    if text[end - 1] not in ".…":
        return False
    if text[end : end + _NEAR_CHARS].lstrip()[:1].islower():
        return True
    return _ABBREVIATION.search(text[max(0, end - _NEAR_CHARS) : end]) is not None
