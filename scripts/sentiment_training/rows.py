"""The labelled texts: read from the data folder, with the hashes of what was read."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LABELS = ("negative", "neutral", "positive")
NEGATIVE, NEUTRAL, POSITIVE = range(3)

_NEUTRAL_PARAGRAPHS = {"quantum_docs": 1500, "openstax_sections": 6000}
_FILM_WORDS_MIN = 5
_SENTENCE_CHARS = range(30, 300)


class Row(NamedTuple):
    """A text, its label, and the test set that it belongs to, if any."""

    text: str
    label: int
    part: str = ""


def labelled(data: Path, part: str) -> list[Row]:
    """The rows of `sentiment_PART`, in the file's order."""
    return [
        Row(row["t"], row["y"], row.get("set", "")) for row in _lines(data, f"sentiment_{part}")
    ]


def might_be_film(text: str) -> bool:
    """True for every sentence of the film data, which is all in lower case, and for others too."""
    return text == text.lower() and len(text.split()) >= _FILM_WORDS_MIN


def facts(data: Path) -> list[Row]:
    """First sentences of textbook and documentation paragraphs: neutral in tone."""
    rows = []
    for name, count in _NEUTRAL_PARAGRAPHS.items():
        found = [text for line in _lines(data, name) for text in _first_sentences(line)]
        step = max(1, len(found) // count)
        rows += [Row(text, NEUTRAL) for text in found[::step][:count]]
    return rows


def _first_sentences(line: dict[str, Any]) -> Iterator[str]:
    for paragraph in line.get("paras") or [line.get("t", "")]:
        sentence = str(paragraph).strip().partition(". ")[0]
        if len(sentence) in _SENTENCE_CHARS:
            yield f"{sentence.rstrip('.')}."


def hashes(data: Path) -> dict[str, str]:
    """SHA-256 of every file that training reads."""
    names = ["sentiment_train", "sentiment_dev", "sentiment_test", *_NEUTRAL_PARAGRAPHS]
    return {name: sha256(_path(data, name)) for name in names}


def sha256(path: Path) -> str:
    """The hash of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _lines(data: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(_path(data, name), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _path(data: Path, name: str) -> Path:
    return data / f"{name}.jsonl.gz"
