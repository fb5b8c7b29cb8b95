"""The text to train on, read from the folder that holds it; none of it is part of this project."""

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

FILES = (
    "openstax_definitions.jsonl.gz",
    "openstax_sections.jsonl.gz",
    "wordnet_qa.jsonl.gz",
    "data_science_qa.jsonl.gz",
    "quantum_docs.jsonl.gz",
    "sentiment_train.jsonl.gz",
)

_WORDNET_FRAMES = re.compile(
    r"(?:Define|What is meant by|What is|what is|What are|Give a definition of|Explain the term"
    r"|What does) (.+?)(?: mean)?[.?]?$"
)
_QUESTION = re.compile(r"(?:^|[.?!] )([A-Z][^.?!\"“”]{14,110}\?)")
_PROSE_CHARS = (200, 900)
_REMARK_CHARS = (8, 120)


class Sources(Struct, frozen=True):
    """What was read; nothing in here is in the order of importance.

    `definitions` are pairs of question and answer, `terms` things that have a definition,
    `questions` sentences of the textbooks that ask, `remarks` what people said or wrote, `prose`
    paragraphs.
    """

    definitions: list[tuple[str, str]]
    terms: list[str]
    questions: list[str]
    remarks: list[str]
    prose: list[str]


def read_sources(folder: Path) -> Sources:
    """Everything in the folder that training uses; raises OSError if a file is missing."""
    wordnet = [(row["q"], row["a"]) for row in _rows(folder / "wordnet_qa.jsonl.gz")]
    books = list(_rows(folder / "openstax_definitions.jsonl.gz"))
    science = [(row["q"], row["a"]) for row in _rows(folder / "data_science_qa.jsonl.gz")]
    prose = [
        paragraph
        for row in _rows(folder / "openstax_sections.jsonl.gz")
        for paragraph in row["paras"]
    ]
    quantum = [row["t"] for row in _rows(folder / "quantum_docs.jsonl.gz")]
    remarks = [row["t"] for row in _rows(folder / "sentiment_train.jsonl.gz")]
    named = [(f"What is {row['term']}?", f"{row['term']}: {row['meaning']}.") for row in books]
    least, most = _PROSE_CHARS
    short, long = _REMARK_CHARS
    return Sources(
        definitions=wordnet + named + science,
        terms=sorted({*_wordnet_terms(wordnet), *(row["term"] for row in books)}),
        questions=[found for text in prose for found in _QUESTION.findall(text)],
        remarks=[text for text in remarks if short <= len(text) <= long],
        prose=[text for text in prose + quantum if least <= len(text) <= most],
    )


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of each file that training reads, in hex."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def _wordnet_terms(pairs: list[tuple[str, str]]) -> Iterator[str]:
    for question, _ in pairs:
        if found := _WORDNET_FRAMES.match(question):
            yield found[1]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
