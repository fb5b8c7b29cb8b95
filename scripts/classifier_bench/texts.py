"""Texts to classify, as long as reviews and remarks are: some of a few words, some of many."""

import random
from itertools import islice

from scripts.sentiment_training.phrases import sentences


def texts(count: int, seed: int = 0) -> list[str]:
    """So many texts of one to four sentences, all different from seed to seed."""
    chance = random.Random(seed)
    endless = (row.text for row in sentences(chance))
    return [" ".join(islice(endless, chance.randint(1, 4))) for _ in range(count)]
