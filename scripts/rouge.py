"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004): how much of a reference a summary has. F1 from 0 to 1.

Words are runs of ASCII letters and digits in lower case, not stemmed, as rouge-score has them.
"""

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[a-z0-9]+")


def rouge(summary: str, reference: str) -> tuple[float, float, float]:
    """F1 of unigrams, of bigrams and of the longest common subsequence."""
    ours, theirs = _WORD.findall(summary.lower()), _WORD.findall(reference.lower())
    return (_grams(ours, theirs, 1), _grams(ours, theirs, 2), _longest(ours, theirs))


def _grams(ours: Sequence[str], theirs: Sequence[str], size: int) -> float:
    of_ours, of_theirs = (
        Counter(zip(*(words[start:] for start in range(size)), strict=False))
        for words in (ours, theirs)
    )
    return _f1((of_ours & of_theirs).total(), of_ours.total(), of_theirs.total())


def _longest(ours: Sequence[str], theirs: Sequence[str]) -> float:
    lengths = [0] * (len(theirs) + 1)
    for word in ours:
        diagonal = 0
        for place, other in enumerate(theirs):
            above = lengths[place + 1]
            lengths[place + 1] = diagonal + 1 if word == other else max(above, lengths[place])
            diagonal = above
    return _f1(lengths[-1], len(ours), len(theirs))


def _f1(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else 0.0
