"""Text classification: one label and how sure the model is of it."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from dispatchd.core.errors import Unusable
from dispatchd.engine.folder import find_onnx
from dispatchd.engine.parse import parse, read_tokenizer
from dispatchd.engine.session import Session, open_session
from dispatchd.engine.text import whole

WINDOW_TOKENS = 128
# Of a longer text the beginning and the end are read, half of this each.
TEXT_CHARS_MAX = 50_000
# More at once take longer for each: what a run works on no longer fits into the caches.
_RUN_TOKENS_MAX = 512
_PAD = 0
_NO_OPINION = "neutral"

Scores = npt.NDArray[np.float64]


class _Window(NamedTuple):
    """A part of a text that is read at once."""

    text: int
    ids: list[int]


class Classifier:
    """A loaded classifier; several threads may ask it at once."""

    def __init__(
        self, name: str, labels: list[str], session: Session, tokenizer: Tokenizer
    ) -> None:
        self.name = name
        self.device = session.device
        self.labels = labels
        self._session = session
        self._tokenizer = tokenizer

    def classify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest label of each text and its probability.

        A text without a token is a neutral guess. No text's answer depends on the others.
        """
        windows = [
            _Window(place, ids)
            for place, text in enumerate(texts)
            for ids in _windows(self._tokenizer.encode(_shortened(whole(text).strip())).ids)
        ]
        lengths = np.zeros(len(texts))
        totals = np.zeros((len(texts), len(self.labels)))
        for window, scores in self._read(windows):
            lengths[window.text] += len(window.ids)
            totals[window.text] += scores * len(window.ids)
        return [
            self._verdict(total / tokens * _evidence(tokens)) if tokens else self._guess()
            for total, tokens in zip(totals, lengths, strict=True)
        ]

    def _read(self, windows: list[_Window]) -> Iterator[tuple[_Window, Scores]]:
        """The scores of each window; those of a text keep their order."""
        scores: list[Scores] = [np.zeros(0)] * len(windows)
        for run in _runs([len(window.ids) for window in windows]):
            logits = self._scores([windows[place].ids for place in run])
            for place, row in zip(run, logits, strict=True):
                scores[place] = row
        return zip(windows, scores, strict=True)

    def _scores(self, rows: list[list[int]]) -> Scores:
        """Logits [rows, labels] of one run."""
        ids = np.full((len(rows), max(map(len, rows))), _PAD, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        logits, _ = self._session.run({"input_ids": self._session.tensor(ids)}, fetch="logits")
        return np.asarray(logits, dtype=np.float64)

    def _verdict(self, scores: Scores) -> tuple[str, float]:
        shares = _softmax(scores)
        best = int(shares.argmax())
        return self.labels[best], float(shares[best])

    def _guess(self) -> tuple[str, float]:
        label = _NO_OPINION if _NO_OPINION in self.labels else self.labels[0]
        return label, 1 / len(self.labels)


def load_classifier(folder: Path) -> Classifier:
    """The folder's classifier, proven by two runs; Unusable if it cannot be."""
    labels = parse(folder / "labels.json", list[str])
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    graph = find_onnx(folder)
    session = open_session(graph, threads=1)
    if session.inputs.keys() != {"input_ids"} or "logits" not in session.outputs:
        raise Unusable(f"{graph} must map input_ids to logits: export the classifier again.")
    if session.outputs["logits"].shape[-1] != len(labels):
        raise Unusable(
            f"{folder / 'labels.json'} must name one label for each output of {graph.name}."
        )
    classifier = Classifier(folder.resolve().name, labels, session, tokenizer)
    try:
        alone, beside = classifier.classify(["ping"]), classifier.classify(["ping", "pong " * 9])
    except Exception as error:
        raise Unusable(f"{graph} fails at its first run: export the classifier again.") from error
    if alone[0] != beside[0]:
        raise Unusable(
            f"{graph} gives a text other scores beside other texts: export the classifier again."
        )
    return classifier


def _shortened(text: str) -> str:
    if len(text) <= TEXT_CHARS_MAX:
        return text
    half = TEXT_CHARS_MAX // 2
    return f"{text[:half]} {text[-half:]}"


def _windows(ids: list[int]) -> list[list[int]]:
    return [ids[i : i + WINDOW_TOKENS] for i in range(0, len(ids), WINDOW_TOKENS)]


def _evidence(tokens: float) -> float:
    """How much surer many windows are than one is: as a mean of so many chances is, no more."""
    return math.sqrt(max(1.0, tokens / WINDOW_TOKENS))


def _runs(lengths: list[int]) -> Iterator[list[int]]:
    """Places of windows that are read together: of like length, so that little is padding."""
    run: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if run and (len(run) + 1) * lengths[place] > _RUN_TOKENS_MAX:
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _softmax(scores: Scores) -> Scores:
    shares = np.exp(scores - scores.max())
    normal: Scores = shares / shares.sum()
    return normal
