"""Trains the sentence model of `summarize` on the summaries that textbooks' chapters end with.

    python scripts/train_summarizer.py --data DIR [--out models/summarizer]

DIR holds `openstax_summaries.jsonl.gz` and `openstax_sections.jsonl.gz`. The books of HELD_OUT are
never looked at. There is no chance in it: the same data give the same weights.
"""

import argparse
import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))

from dispatchd.engine.salience import FILE_NAME
from dispatchd.engine.sentence_features import FEATURES, describe, words_of
from dispatchd.engine.sentences import Sentence, sentences

Floats = npt.NDArray[np.float64]

SUMMARIES, SECTIONS = "openstax_summaries.jsonl.gz", "openstax_sections.jsonl.gz"
HELD_OUT = frozenset(
    f"openstax+osbooks-{name}"
    for name in ("astronomy", "introduction-sociology", "introduction-business")
)
COMMON_WORDS = 2000
# Words of more texts than this are the grammar's: two of them in a row say nothing.
GRAMMAR_SHARE = 0.25
NEWTON_STEPS = 15
RIDGE = 1.0
_WORD = re.compile(r"[a-z0-9]+")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a compressed file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def common_words(data: Path) -> dict[str, float]:
    """The commonest words with the share of the sections that have them."""
    held, sections = Counter[str](), 0
    for row in read(data / SECTIONS):
        if row["book"] not in HELD_OUT:
            sections += 1
            held.update(set(words_of(" ".join(row["paras"]))))
    return {word: round(count / sections, 4) for word, count in held.most_common(COMMON_WORDS)}


def targets(found: list[Sentence], summary: str, common: Mapping[str, float]) -> Floats:
    """For each sentence twice the share of its word pairs that the summary has, at most 1."""

    def pairs(text: str) -> list[tuple[str, str]]:
        words = _WORD.findall(text.lower())
        return [
            pair
            for pair in pairwise(words)
            if any(common.get(word[:7], 0) < GRAMMAR_SHARE for word in pair)
        ]

    told = set(pairs(summary))
    shares = []
    for sentence in found:
        own = pairs(sentence.text)
        shares.append(sum(pair in told for pair in own) / max(len(own), 4))
    wanted: Floats = np.minimum(1.0, 2 * np.array(shares))
    return wanted


def examples(data: Path, common: Mapping[str, float]) -> tuple[Floats, Floats, Floats]:
    """Features with a leading 1, targets, and weights that make every chapter count alike."""
    features, wanted, weights = [], [], []
    for row in read(data / SUMMARIES):
        if row["book"] in HELD_OUT:
            continue
        found = list(sentences(row["doc"]))
        features.append(describe(found, common).features)
        wanted.append(targets(found, row["summary"], common))
        weights.append(np.full(len(found), 1 / len(found)))
    rows = np.vstack(features)
    ones = np.ones((len(rows), 1))
    together = np.concatenate(weights)
    return np.hstack([ones, rows]), np.concatenate(wanted), together * len(rows) / together.sum()


def fitted(rows: Floats, wanted: Floats, weights: Floats) -> Floats:
    """Weights of a logistic regression to targets between 0 and 1, by Newton's method."""
    model = np.zeros(rows.shape[1])
    for _ in range(NEWTON_STEPS):
        shares = 1 / (1 + np.exp(-rows @ model))
        slope = rows.T @ (weights * (shares - wanted)) + RIDGE * model
        bend = (rows * (weights * shares * (1 - shares))[:, None]).T @ rows
        model -= np.linalg.solve(bend + RIDGE * np.eye(len(model)), slope)
    return model


def main() -> None:
    """Trains, and writes the weights and what they were made from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("models/summarizer"))
    given = parser.parse_args()
    common = common_words(given.data)
    rows, wanted, weights = examples(given.data, common)
    bias, *model = fitted(rows, wanted, weights)
    given.out.mkdir(parents=True, exist_ok=True)
    trained = {
        "features": FEATURES,
        "weights": [round(weight, 4) for weight in model],
        "bias": round(bias, 4),
        "common": common,
    }
    (given.out / FILE_NAME).write_text(json.dumps(trained, ensure_ascii=False) + "\n")
    made = {
        "params": len(model) + 1 + len(common),
        "sentences": len(rows),
        "held_out": sorted(HELD_OUT),
        "data_sha256": {
            name: hashlib.sha256((given.data / name).read_bytes()).hexdigest()
            for name in (SUMMARIES, SECTIONS)
        },
    }
    (given.out / "metrics.json").write_text(json.dumps(made, indent=1) + "\n")
    for weight, name in sorted(zip(model, FEATURES, strict=True)):
        print(f"{weight:8.2f}  {name}")


if __name__ == "__main__":
    main()
