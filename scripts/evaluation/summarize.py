"""The tables of models/summarizer/README.md: how much of people's summaries ours have."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean

import msgspec
import numpy as np

from dispatchd.engine.catalog import DEFAULT_SUMMARIZER, find
from dispatchd.engine.salience import Judged, load_salience
from dispatchd.engine.sentences import Sentence, sentences
from dispatchd.worker.tasks.summarize import choose
from scripts.rouge import rouge

OWN_TEXTS = Path(__file__).with_name("texts.jsonl")
SUMMARIES = "openstax_summaries.jsonl.gz"
ROOMS = (200, 600)

Way = Callable[[list[Sentence], Judged, int], str]


class Row(msgspec.Struct, frozen=True):
    """A text, and a person's summary of it; empty where ROUGE, which reads ASCII, has no say."""

    text: str
    reference: str


def tables(data: Path) -> list[str]:
    """The table over our own texts, and where the data are the one over the books held out."""
    rows = [row for row in own_texts() if row.reference]
    found = [f"Texts of our own ({len(rows)}):\n\n{table(rows, ROOMS[:1])}"]
    if (data / SUMMARIES).is_file():
        rows = held_out(data)
        shown = table(rows, ROOMS)
        found.append(f"Chapters of books never trained on ({len(rows)}):\n\n{shown}")
    return found


def own_texts() -> list[Row]:
    """Texts and summaries written for this project."""
    lines = OWN_TEXTS.read_text(encoding="utf-8").splitlines()
    return [msgspec.json.decode(line, type=Row) for line in lines]


def held_out(data: Path) -> list[Row]:
    """The chapters that training never saw, with the books' own summaries."""
    made = json.loads((find(DEFAULT_SUMMARIZER).path / "metrics.json").read_text())
    return [
        Row(row["doc"], row["summary"]) for row in _lines(data) if row["book"] in made["held_out"]
    ]


def _lines(data: Path) -> Iterator[Mapping[str, str]]:
    with gzip.open(data / SUMMARIES, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def table(rows: Iterable[Row], rooms: Iterable[int]) -> str:
    """ROUGE F1 in percent of each way to summarize, all with the same room in characters."""
    salience = load_salience(find(DEFAULT_SUMMARIZER).path)
    read = []
    for row in rows:
        found = list(sentences(row.text))
        read.append((found, salience.judge(found), row.reference))
    lines = ["| at most | | ROUGE-1 | ROUGE-2 | ROUGE-L |", "| --- | --- | --- | --- | --- |"]
    for room in rooms:
        for name, way in WAYS.items():
            scores = [
                rouge(way(found, judged, room), reference) for found, judged, reference in read
            ]
            means = " | ".join(f"{100 * fmean(column):.1f}" for column in zip(*scores, strict=True))
            lines.append(f"| {room} | {name} | {means} |")
    return "\n".join(lines)


def _ours(found: list[Sentence], judged: Judged, room: int) -> str:
    return _text(found, choose(found, judged, room))


def _first_characters(found: list[Sentence], _: Judged, room: int) -> str:
    return " ".join(sentence.text for sentence in found)[:room]


def _first_sentences(found: list[Sentence], _: Judged, room: int) -> str:
    return _text(found, _greedily(found, range(len(found)), room))


def _text_rank(found: list[Sentence], judged: Judged, room: int) -> str:
    order = np.argsort(-judged.feature("rank"), kind="stable")
    return _text(found, _greedily(found, order.tolist(), room))


def _greedily(found: list[Sentence], order: Iterable[int], room: int) -> list[int]:
    """The places in this order, those left out for which there is no room any more."""
    chosen, left = [], room
    for place in order:
        if len(found[place].text) <= left:
            chosen.append(place)
            left -= len(found[place].text) + 1
    return chosen


def _text(found: list[Sentence], places: list[int]) -> str:
    return " ".join(found[place].text for place in sorted(places))


WAYS: Mapping[str, Way] = {
    "this model": _ours,
    "first characters": _first_characters,
    "first sentences": _first_sentences,
    "TextRank": _text_rank,
}
