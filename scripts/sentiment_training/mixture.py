"""What an epoch is made of: the data's texts, ours beside them, and some put together."""

import random
from collections.abc import Iterator
from itertools import islice

from scripts.sentiment_training.phrases import sentences, signs
from scripts.sentiment_training.rows import LABELS, Row

_OURS = 8000
_SIGNS_REPEATED = 8
_JOINED = 4000
_JOINED_TEXTS = (2, 5)


class Mixture:
    """All texts of one seed; `epoch` gives them in a new order, some joined anew."""

    def __init__(self, rows: list[Row], chance: random.Random) -> None:
        self._chance = chance
        ours = [*islice(sentences(chance), _OURS), *signs() * _SIGNS_REPEATED]
        self.rows = rows + ours
        self._by_label = [
            [row.text for row in self.rows if row.label == label] for label in range(len(LABELS))
        ]

    def epoch(self) -> list[Row]:
        """Every text once, and longer ones of several texts that feel the same."""
        rows = [*self.rows, *islice(self._joined(), _JOINED)]
        self._chance.shuffle(rows)
        return rows

    def _joined(self) -> Iterator[Row]:
        while True:
            for label, texts in enumerate(self._by_label):
                count = self._chance.randint(*_JOINED_TEXTS)
                yield Row(" ".join(self._chance.sample(texts, count)), label)
