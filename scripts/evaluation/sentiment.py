"""The tables of the sentiment model's card, from the shipped files and the held-out data."""

import gzip
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, find
from dispatchd.engine.classifier import Classifier, load_classifier
from dispatchd.worker.tasks.keywords import classify_by_keywords
from scripts.evaluation.sentiment_texts import given

TEXTS = "sentiment_test.jsonl.gz"
_LABELS = ("negative", "neutral", "positive")
_TITLES = {
    "goemotions_test": "GoEmotions, test part",
    "pros_cons_heldout": "pros and cons, held out",
    "product_reviews_heldout": "product reviews, held out",
    "sentence_polarity_heldout": "film sentences, held out",
    "plot_sentences(neutral)": "plot summaries (all neutral), held out",
}
_DOCUMENTS = 400
_DOCUMENT_SENTENCES = (12, 40)
_MAJORITY_SHARE = 0.75
_BINS = 15
_VADER_OPINION = 0.05  # what its authors recommend
_BATCH = 256

Verdict = tuple[str, float]
Rule = Callable[[Sequence[str]], list[Verdict]]


class _Set(NamedTuple):
    title: str
    texts: list[str]
    labels: list[str]


def tables(data: Path) -> list[str]:
    """The card's tables, those over the held-out texts only where they are in the data folder."""
    classifier = load_classifier(find(DEFAULT_CLASSIFIER).path)
    by_hand = "\n".join(_by_hand(classifier))
    if not (data / TEXTS).is_file():
        return [by_hand]
    sets = _sets(data)
    return [
        "\n".join(_accuracies(classifier, sets)),
        "\n".join(_calibration(classifier, sets)),
        by_hand,
    ]


def _accuracies(classifier: Classifier, sets: list[_Set]) -> list[str]:
    rules: dict[str, Rule | None] = {
        "this model": classifier.classify,
        "VADER": _vader(),
        "keyword rule": _keywords,
    }
    lines = [
        f"| test set | texts | {' | '.join(rules)} |",
        f"| --- | --- |{' --- |' * len(rules)}",
    ]
    for each in sets:
        shares = [_share(rule, each) for rule in rules.values()]
        lines.append(f"| {each.title} | {len(each.texts):,} | {' | '.join(shares)} |")
    return lines


def _share(rule: Rule | None, tested: _Set) -> str:
    if rule is None:
        return "not installed"
    return _figure(float(_right(_all(rule, tested.texts), tested.labels).mean()))


def _calibration(classifier: Classifier, sets: list[_Set]) -> list[str]:
    lines = [
        "| test set | right | mean confidence | expected calibration error |",
        "| --- | --- | --- | --- |",
    ]
    for each in sets:
        verdicts = _all(classifier.classify, each.texts)
        right = _right(verdicts, each.labels)
        sure = np.array([confidence for _, confidence in verdicts])
        figures = (float(right.mean()), float(sure.mean()), calibration_error(right, sure))
        lines.append(f"| {each.title} | {' | '.join(map(_figure, figures))} |")
    return lines


def calibration_error(right: npt.NDArray[np.bool_], sure: npt.NDArray[np.float64]) -> float:
    """How far confidence is from the share that is right, over 15 bins of equal width.

    After Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    return float(
        sum(
            abs(right[bins == each].mean() - sure[bins == each].mean()) * (bins == each).mean()
            for each in set(bins.tolist())
        )
    )


def _by_hand(classifier: Classifier) -> list[str]:
    """Every text of ours with what the model makes of it, and the share that is right."""
    texts = given()
    verdicts = classifier.classify([each.text for each in texts])
    lines = ["| text | by hand | this model |", "| --- | --- | --- |"]
    for each, (label, confidence) in zip(texts, verdicts, strict=True):
        found = f"{label} {_figure(confidence)}"
        shown = found if label == each.label else f"**{found}**"
        lines.append(f"| {each.text} | {each.label} | {shown} |")
    for kind in dict.fromkeys(each.kind for each in texts):
        right = [v[0] == e.label for v, e in zip(verdicts, texts, strict=True) if e.kind == kind]
        lines.append(f"| *{kind}: right* | | {sum(right)} of {len(right)} |")
    return lines


def _sets(data: Path) -> list[_Set]:
    with gzip.open(data / TEXTS, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    sets = [
        _Set(
            title,
            [row["t"] for row in rows if row["set"] == name],
            [_LABELS[row["y"]] for row in rows if row["set"] == name],
        )
        for name, title in _TITLES.items()
    ]
    return [*sets, _documents(sets)]


def _documents(sets: list[_Set]) -> _Set:
    """Long texts put together from held-out sentences, most of which feel the same."""
    chance = random.Random(0)
    by_label: dict[str, list[str]] = {label: [] for label in _LABELS}
    for each in sets:
        if "film" in each.title or "plot" in each.title:
            for text, label in zip(each.texts, each.labels, strict=True):
                by_label[label].append(text)
    texts, labels = [], []
    for place in range(_DOCUMENTS):
        label = ("negative", "positive")[place % 2]
        others = [text for other in _LABELS if other != label for text in by_label[other]]
        texts.append(
            " ".join(
                chance.choice(by_label[label] if chance.random() < _MAJORITY_SHARE else others)
                for _ in range(chance.randint(*_DOCUMENT_SENTENCES))
            )
        )
        labels.append(label)
    return _Set("long texts of 12 to 40 film sentences, 3 in 4 of one kind", texts, labels)


def _all(rule: Rule, texts: list[str]) -> list[Verdict]:
    return [
        verdict
        for start in range(0, len(texts), _BATCH)
        for verdict in rule(texts[start : start + _BATCH])
    ]


def _keywords(texts: Sequence[str]) -> list[Verdict]:
    found = map(classify_by_keywords, texts)
    return [(str(each["sentiment"]), float(str(each["confidence"]))) for each in found]


def _vader() -> Rule | None:
    try:
        from vaderSentiment.vaderSentiment import (  # noqa: PLC0415 # only to compare with
            SentimentIntensityAnalyzer,
        )
    except ImportError:
        return None
    analyzer = SentimentIntensityAnalyzer()

    def judge(texts: Sequence[str]) -> list[Verdict]:
        scores = [float(analyzer.polarity_scores(text)["compound"]) for text in texts]
        return [(_sign(score), abs(score)) for score in scores]

    return judge


def _sign(score: float) -> str:
    if abs(score) < _VADER_OPINION:
        return "neutral"
    return "positive" if score > 0 else "negative"


def _right(verdicts: Iterable[Verdict], labels: list[str]) -> npt.NDArray[np.bool_]:
    return np.array([label == wanted for (label, _), wanted in zip(verdicts, labels, strict=True)])


def _figure(share: float) -> str:
    return f"{share:.3f}".replace("0.", ".", 1)
