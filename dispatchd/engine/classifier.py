"""Text classification: one label and how sure the model is of it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from dispatchd.core.errors import Unusable
from dispatchd.engine.folder import find_onnx
from dispatchd.engine.parse import parse, read_tokenizer
from dispatchd.engine.session import Session, open_session
from dispatchd.engine.text import whole

WINDOW_TOKENS = 128
# The convolutions need a few positions; a text of one token gives the same scores from here on.
WINDOW_TOKENS_MIN = 8
# Of a longer text the beginning and the end are read, half of this each.
TEXT_CHARS_MAX = 50_000
_PAD = 0
_NO_OPINION = "neutral"

Scores = npt.NDArray[np.float64]


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

    def classify(self, text: str) -> tuple[str, float]:
        """The likeliest label and its probability; a text without a token is a neutral guess."""
        ids = self._tokenizer.encode(_shortened(whole(text).strip())).ids
        if not ids and _NO_OPINION in self.labels:
            return _NO_OPINION, 1 / len(self.labels)
        shares = _softmax(self._scores(ids))
        best = int(shares.argmax())
        return self.labels[best], float(shares[best])

    def _scores(self, ids: list[int]) -> Scores:
        windows = _windows(ids)
        # One at a time: int8 activations share one scale, so neighbours would change the answer.
        scores = [self._read(window) for window in windows]
        return np.average(scores, axis=0, weights=[max(len(window), 1) for window in windows])

    def _read(self, window: list[int]) -> Scores:
        padded = window + [_PAD] * (WINDOW_TOKENS_MIN - len(window))
        row = self._session.tensor(np.array([padded], dtype=np.int64))
        logits, _ = self._session.run({"input_ids": row}, fetch="logits")
        return np.asarray(logits[0], dtype=np.float64)


def load_classifier(folder: Path) -> Classifier:
    """The folder's classifier, proven by one run; Unusable if it cannot be."""
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
        classifier.classify("ping")
    except Exception as error:
        raise Unusable(f"{graph} fails at its first run: export the classifier again.") from error
    return classifier


def _shortened(text: str) -> str:
    if len(text) <= TEXT_CHARS_MAX:
        return text
    half = TEXT_CHARS_MAX // 2
    return f"{text[:half]} {text[-half:]}"


def _windows(ids: list[int]) -> list[list[int]]:
    return [ids[i : i + WINDOW_TOKENS] for i in range(0, len(ids), WINDOW_TOKENS)] or [[]]


def _softmax(scores: Scores) -> Scores:
    shares = np.exp(scores - scores.max())
    normal: Scores = shares / shares.sum()
    return normal
