"""How much each sentence of a text tells of the whole: a logistic regression over its features."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from dispatchd.core.errors import Unusable
from dispatchd.engine.parse import parse
from dispatchd.engine.sentence_features import FEATURES, Described, Floats, describe, row_vector
from dispatchd.engine.sentences import Sentence

FILE_NAME = "salience.json"  # by which the catalog knows the model


class Weights(msgspec.Struct, frozen=True):
    """A trained model: a weight for each feature, and words with their share of all texts."""

    features: list[str]
    weights: list[float]
    bias: float
    common: dict[str, float]


class Judged(msgspec.Struct, frozen=True):
    """Sentences' scores from 0 to 1, and what they were made from."""

    scores: Floats
    described: Described

    def feature(self, name: str) -> Floats:
        """One of FEATURES, of each sentence."""
        column: Floats = self.described.features[:, FEATURES.index(name)]
        return column

    def likeness(self, row: int) -> Floats:
        """The cosine of each sentence with that one, by the words that they share."""
        bags, vectors = self.described.bags, self.described.vectors
        return bags.per_row(vectors * row_vector(bags, vectors, row)[bags.columns])


class Salience:
    """A loaded model; several threads may ask it at once."""

    def __init__(self, name: str, trained: Weights) -> None:
        self.name = name
        self._trained = trained
        self._weights = np.array(trained.weights, dtype=np.float64)

    def judge(self, sentences: Sequence[Sentence]) -> Judged:
        """The scores of at least one sentence."""
        described = describe(sentences, self._trained.common)
        sums = described.features @ self._weights + self._trained.bias
        return Judged(1 / (1 + np.exp(-sums)), described)


def load_salience(folder: Path) -> Salience:
    """The folder's model; Unusable where it was trained for other features."""
    trained = parse(folder / FILE_NAME, Weights)
    if trained.features != list(FEATURES) or len(trained.weights) != len(FEATURES):
        raise Unusable(f"{folder / FILE_NAME} is for other features: train the model again.")
    return Salience(folder.resolve().name, trained)
