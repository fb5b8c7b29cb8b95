"""What a training step reads: rows of tokens, and which of them the model is to predict."""

import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from tokenizers import Tokenizer

from scripts.lm_training.examples import Examples
from scripts.lm_training.sources import Sources
from scripts.lm_training.tokenizer import END_OF_TEXT, chat_text

_ROW_TOKENS_MAX = 320
_LANGUAGE_TOKENS = 128
# Most of what has to be learned is how an answer begins: the rest follows from it.
_CUT_SHARE = 0.7
_CUT_TOKENS = (4, 16)
# Rows of similar length go together, so that little is padded.
_PARTS = 6

_Row = tuple[list[int], list[bool]]


class Batch(Struct, frozen=True):
    """`ids` int64 [rows, tokens]; `wanted` bool of the same shape: predict this token."""

    ids: npt.NDArray[np.int64]
    wanted: npt.NDArray[np.bool_]


class Batches:
    """Makes every step's batches from the seed and the step's number alone."""

    def __init__(
        self, examples: Examples, sources: Sources, words: Tokenizer, tokens_a_step: int, seed: int
    ) -> None:
        self._examples = examples
        self._sources = sources
        self._words = words
        self._tokens = tokens_a_step
        self._seed = seed
        self._pad: int = words.encode(END_OF_TEXT).ids[0]

    def conversations(self, step: int) -> list[Batch]:
        """A step's conversations, in a few batches; the model is to write the answers."""
        chance = random.Random(f"conversations {self._seed} {step}")
        rows = sorted(self._rows(chance), key=lambda row: len(row[0]))
        return [self._padded(part) for part in _parts(rows)]

    def language(self, step: int) -> list[Batch]:
        """Definitions and prose one after the other; the model is to predict all of it."""
        chance = random.Random(f"language {self._seed} {step}")
        rows = max(self._tokens // _LANGUAGE_TOKENS, 1)
        ids: list[int] = []
        while len(ids) < rows * _LANGUAGE_TOKENS:
            if chance.random() < 0.7:
                question, answer = chance.choice(self._sources.definitions)
                text = f"{question} {answer[:300]}"
            else:
                text = chance.choice(self._sources.prose)
            ids += [*self._words.encode(text).ids, self._pad]
        grid = np.array(ids[: rows * _LANGUAGE_TOKENS], dtype=np.int64).reshape(rows, -1)
        return [Batch(grid, np.ones_like(grid, dtype=np.bool_))]

    def _rows(self, chance: random.Random) -> Iterator[_Row]:
        total = 0
        while total < self._tokens:
            row = self._row(chance)
            total += len(row[0])
            yield row

    def _row(self, chance: random.Random) -> _Row:
        ids: list[int] = []
        wanted: list[bool] = []
        piece: list[int] = []
        for text, ours in chat_text(self._examples.draw(chance)):
            piece = self._words.encode(text, add_special_tokens=False).ids
            ids += piece
            wanted += [ours] * len(piece)
        keep = len(ids)
        if chance.random() < _CUT_SHARE:
            keep = min(keep, len(ids) - len(piece) + chance.randint(*_CUT_TOKENS))
        return ids[:keep][-_ROW_TOKENS_MAX:], wanted[:keep][-_ROW_TOKENS_MAX:]

    def _padded(self, rows: list[_Row]) -> Batch:
        longest = max(len(ids) for ids, _ in rows)
        ids = np.full((len(rows), longest), self._pad, dtype=np.int64)
        wanted = np.zeros((len(rows), longest), dtype=np.bool_)
        for row, (tokens, flags) in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            wanted[row, : len(flags)] = flags
        return Batch(ids, wanted)


def _parts(rows: list[_Row]) -> Iterator[list[_Row]]:
    """The sorted rows in parts of about as many tokens each."""
    share = sum(len(ids) for ids, _ in rows) / _PARTS
    part: list[_Row] = []
    total = 0
    for row in rows:
        part.append(row)
        total += len(row[0])
        if total >= share:
            yield part
            part, total = [], 0
    if part:
        yield part
