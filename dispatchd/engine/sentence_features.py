"""What can be said of each sentence of a text without understanding it: numbers for a model.

Everything takes time in proportion to the text. TextRank (Mihalcea, Tarau 2004) is run over the
words that sentences share instead of over pairs of sentences, which gives the same numbers.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dispatchd.engine.sentences import Sentence

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WORD = re.compile(rf"{_IDEOGRAPH.pattern}+|(?:(?!{_IDEOGRAPH.pattern})[^\W\d_]){{2,}}")
_STEM_CHARS = 7
_SHORT_WORD_CHARS = 4
_SHORT_WORD_SHARE = 0.3
_DAMPING = 0.85
_RANK_ROUNDS = 20
# A sentence longer than that says no more for being so long.
_CHARS_SCALE = 200
# And what comes later in it is not looked at.
_CHARS_READ_MAX = 2000

_LEANING = re.compile(
    r"(?:however|therefore|thus|hence|also|and|but|or|so|yet|still|then|instead|moreover|furthermore"
    r"|nevertheless|similarly|otherwise|this|these|that|those|they|it|he|she|him|her|his|their|its"
    r"|such|another|in (?:addition|contrast|response|turn)|as a result|on the other hand)\b",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"\b(?:for (?:example|instance)|e\.g\.|imagine|suppose|consider|figure|table|visit|watch"
    r"|website|link)\b",
    re.IGNORECASE,
)
_DEFINITION = re.compile(
    r"\b(?:is|are|was|were) (?:an?|the|defined|called|known)\b|\brefers? to\b|\bmeans\b"
    r"|\b(?:called|known as)\b",
    re.IGNORECASE,
)
_STRESS = re.compile(
    r"\b(?:in (?:summary|short|conclusion)|overall|importan\w+|key|main|primar\w+|major|essential"
    r"|significan\w+|conclu\w+|result\w*|because|led to|therefore)\b",
    re.IGNORECASE,
)
_PERSON = re.compile(r"\b(?:i|we|you|your|my|our|me|us)\b", re.IGNORECASE)
_CAPITALISED = re.compile(r"(?<=\s)[A-Z][a-z]")
_YEAR = re.compile(r"\b(?:1[0-9]|20)\d\d\b")
_QUESTION = re.compile(r"[?؟？][\"'”’»)\]]*$")


def _sums(places: Places, values: Floats, size: int) -> Floats:
    """The sums of the values of each place."""
    sums: Floats = np.bincount(places, values, size).astype(np.float64, copy=False)
    return sums


class Bags(Struct, frozen=True):
    """The words of sentences as a sparse matrix of counts: of each entry row, column and count."""

    rows: Places
    columns: Places
    counts: Floats
    words: tuple[str, ...]
    sentences: int

    def per_row(self, values: Floats) -> Floats:
        """Sums of the entries' values by sentence."""
        return _sums(self.rows, values, self.sentences)

    def per_word(self, values: Floats) -> Floats:
        """Sums of the entries' values by word."""
        return _sums(self.columns, values, len(self.words))


class Described(Struct, frozen=True):
    """Sentences with their features, [sentences, len(FEATURES)], and unit vectors of words."""

    features: Floats
    bags: Bags
    vectors: Floats  # one number for each entry of the bags


def describe(sentences: Sequence[Sentence], common: Mapping[str, float]) -> Described:
    """The features of at least one sentence; `common` has words' shares of all texts, 0 to 1."""
    texts = [sentence.text[:_CHARS_READ_MAX] for sentence in sentences]
    bags = _bags(texts)
    weights = _weights(bags, common)
    vectors = _unit(bags, bags.counts * weights[bags.columns])
    columns = {
        **_by_place(sentences),
        **_by_form(texts),
        **_by_words(bags, weights, vectors, common),
    }
    return Described(np.column_stack([columns[name] for name in FEATURES]), bags, vectors)


def words_of(text: str) -> list[str]:
    """The words of a text, cut to their beginnings; of scripts without spaces character pairs."""
    words: list[str] = []
    for word in _WORD.findall(text.casefold()):
        if _IDEOGRAPH.match(word) and len(word) > 1:
            words += map("".join, pairwise(word))
        else:
            words.append(word[:_STEM_CHARS])
    return words


def _bags(texts: Sequence[str]) -> Bags:
    numbers: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    counts: list[int] = []
    for row, text in enumerate(texts):
        bag = Counter(words_of(text))
        rows += [row] * len(bag)
        columns += [numbers.setdefault(word, len(numbers)) for word in bag]
        counts += bag.values()
    return Bags(
        np.array(rows, dtype=np.int64),
        np.array(columns, dtype=np.int64),
        np.array(counts, dtype=np.float64),
        tuple(numbers),
        len(texts),
    )


def _weights(bags: Bags, common: Mapping[str, float]) -> Floats:
    """How much each word is the text's own: in it, not in every sentence, nor in every text."""
    spread = np.bincount(bags.columns, minlength=len(bags.words))
    here = np.log(1 + bags.sentences / np.maximum(spread, 1))
    weights: Floats = here * np.array([_rarity(word, common) for word in bags.words])
    return weights


def _rarity(word: str, common: Mapping[str, float]) -> float:
    if (share := common.get(word)) is not None:
        return min(1.0, -math.log(share) / 5 + 0.02)
    # Of the scripts that write words with letters, the shortest words are the grammar's.
    short = len(word) < _SHORT_WORD_CHARS and not _IDEOGRAPH.match(word)
    return _SHORT_WORD_SHARE if short else 1.0


def _unit(bags: Bags, values: Floats) -> Floats:
    norms = np.sqrt(bags.per_row(values**2))
    return values / np.maximum(norms, 1e-12)[bags.rows]


def _by_place(sentences: Sequence[Sentence]) -> dict[str, Floats]:
    count = len(sentences)
    place = np.arange(count, dtype=np.float64)
    opens = np.array([sentence.opens for sentence in sentences], dtype=np.float64)
    paragraph = np.cumsum(opens) - 1
    starts = np.maximum.accumulate(np.where(opens > 0, place, 0))
    # Nothing here is the place in the whole text: chapters, from which the model has learnt, open
    # with an anecdote, and most other texts with their point.
    return {
        "opens": opens,
        "into_paragraph": 1 / (1 + place - starts),
        "paragraph": 1 / (1 + np.maximum(paragraph, 0)),
        "brevity": np.full(count, 1 / (1 + math.log1p(count))),
    }


def _by_form(texts: Sequence[str]) -> dict[str, Floats]:
    def of_each(measure: Callable[[str], float]) -> Floats:
        return np.array([measure(text) for text in texts], dtype=np.float64)

    chars = of_each(len)
    return {
        "log_chars": np.log1p(chars) / 5,
        "stubby": (chars < 0.2 * _CHARS_SCALE).astype(np.float64),
        "long": np.minimum(chars / _CHARS_SCALE, 3),
        "leaning": of_each(lambda text: _LEANING.match(text) is not None),
        "example": of_each(lambda text: _EXAMPLE.search(text) is not None),
        "definition": of_each(lambda text: _DEFINITION.search(text) is not None),
        "stress": of_each(lambda text: _STRESS.search(text) is not None),
        "person": of_each(lambda text: _PERSON.search(text) is not None),
        "question": of_each(lambda text: _QUESTION.search(text) is not None),
        "quoted": of_each(lambda text: any(mark in text for mark in '"“”«»「')),
        "bracketed": of_each(lambda text: "(" in text),
        "year": of_each(lambda text: _YEAR.search(text) is not None),
        "digits": of_each(lambda text: sum(map(str.isdigit, text)) / len(text)),
        "names": of_each(lambda text: len(_CAPITALISED.findall(text)) * 10 / len(text)),
        "commas": of_each(lambda text: sum(map(text.count, ",，、،;；")) * 10 / len(text)),
    }


def _by_words(
    bags: Bags, weights: Floats, vectors: Floats, common: Mapping[str, float]
) -> dict[str, Floats]:
    totals = bags.per_word(bags.counts)
    mass = totals * weights
    share = mass / max(float(mass.sum()), 1e-12)
    size = np.maximum(bags.per_row(np.ones_like(bags.counts)), 1)
    known = np.array([common.get(word, 0.0) for word in bags.words])
    likeness = bags.per_word(vectors)
    centroid = _unit_vector(likeness)
    return {
        "centroid": bags.per_row(vectors * centroid[bags.columns]),
        "coverage": bags.per_row(share[bags.columns]),
        "density": np.log1p(bags.per_row(share[bags.columns]) / size * bags.sentences),
        "frequency": np.log1p(
            bags.per_row((totals * (weights > 0.5))[bags.columns]) / size / bags.sentences * 5
        ),
        "rank": _text_rank(bags, vectors),
        "like_first": bags.per_row(vectors * row_vector(bags, vectors, 0)[bags.columns]),
        "like_next": _neighbours(bags, vectors, 1),
        "like_last": _neighbours(bags, vectors, -1),
        "common": bags.per_row(known[bags.columns]) / size,
        "rare": bags.per_row((known == 0).astype(np.float64)[bags.columns]) / size,
    }


def _unit_vector(values: Floats) -> Floats:
    unit: Floats = values / max(float(np.linalg.norm(values)), 1e-12)
    return unit


def row_vector(bags: Bags, vectors: Floats, row: int) -> Floats:
    """One sentence as a vector of all words."""
    mine = bags.rows == row
    return _sums(bags.columns[mine], vectors[mine], len(bags.words))


def _text_rank(bags: Bags, vectors: Floats) -> Floats:
    """TextRank's score, 1 on average, with the cosine of sentences as their likeness."""
    own = bags.per_row(vectors**2)

    def alike(scores: Floats) -> Floats:
        by_word = bags.per_word(vectors * scores[bags.rows])
        return bags.per_row(vectors * by_word[bags.columns]) - own * scores

    degree = np.maximum(alike(np.ones(bags.sentences)), 1e-9)
    scores = np.ones(bags.sentences)
    for _ in range(_RANK_ROUNDS):
        scores = 1 - _DAMPING + _DAMPING * alike(scores / degree)
    return np.log1p(np.maximum(scores, 0))


def _neighbours(bags: Bags, vectors: Floats, step: int) -> Floats:
    """The likeness of each sentence with the one that many places on; 0 at the ends."""
    width = max(len(bags.words), 1)
    keys = bags.rows * width + bags.columns
    order = np.argsort(keys, kind="stable")
    sought = (bags.rows + step) * width + bags.columns
    places = np.minimum(np.searchsorted(keys[order], sought), max(len(keys) - 1, 0))
    found = order[places] if len(keys) else places
    match = keys[found] == sought if len(keys) else np.zeros(0, dtype=bool)
    return bags.per_row(np.where(match, vectors * vectors[found], 0.0))


FEATURES = (
    *("opens", "into_paragraph", "paragraph", "brevity", "log_chars", "stubby", "long"),
    *(
        "leaning",
        "example",
        "definition",
        "stress",
        "person",
        "question",
        "quoted",
        "bracketed",
        "year",
        "digits",
    ),
    *("names", "commas", "centroid", "coverage", "density", "frequency", "rank", "like_first"),
    *("like_next", "like_last", "common", "rare"),
)
