"""Texts that this project wrote to train the classifier on: negation, facts, lone signs."""

import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.sentiment_training.rows import NEGATIVE, NEUTRAL, POSITIVE, Row

_PARTS: dict[str, Any] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
_GOOD, _BAD, _FAULTS = (_PARTS[name].split() for name in ("good", "bad", "faults"))
_PATTERNS = ((POSITIVE, _PARTS["praise"]), (NEGATIVE, _PARTS["blame"]), (NEUTRAL, _PARTS["facts"]))
_SIGNS = ((POSITIVE, _PARTS["smiles"].split()), (NEGATIVE, _PARTS["frowns"].split()))


def signs() -> list[Row]:
    """Emoticons, emoji and marks out of ten, alone."""
    return [Row(text, label) for label, texts in _SIGNS for text in texts]


def sentences(chance: random.Random) -> Iterator[Row]:
    """Endless sentences from the patterns, the three labels by turns."""
    while True:
        for label, patterns in _PATTERNS:
            yield Row(_filled(chance.choice(patterns), chance), label)


def _filled(pattern: str, chance: random.Random) -> str:
    good, good2 = chance.sample(_GOOD, 2)
    bad, bad2 = chance.sample(_BAD, 2)
    text = pattern.format(
        thing=chance.choice(_PARTS["things"]),
        very=chance.choice(_PARTS["very"]),
        good=good,
        good2=good2,
        bad=bad,
        bad2=bad2,
        fault=chance.choice(_FAULTS),
        number=chance.randint(2, 99),
        number2=chance.randint(2, 99),
    )
    end: str = chance.choice(_PARTS["ends"])
    return text[:1].upper() + text[1:] + end
