"""Generation that can only become JSON of a schema: at each step the tokens that fit are left.

llguidance keeps the grammar; it is imported when the first schema comes.
"""

import threading
from importlib import import_module
from typing import Any

import numpy as np

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.folder import ModelFolder
from dispatchd.engine.sampling import Scores

_BYTE_BITS = 8
# White space anywhere would let a weak model write nothing else until it is stopped.
_PRINTED = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Grammar:
    """What one text may go on with."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    @property
    def over(self) -> bool:
        """Whether the JSON is whole, and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def mask(self, scores: Scores) -> None:
        """Rules out, in place, every token that does not fit; scores [vocab]."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        fits = np.unpackbits(
            bits, count=min(scores.size, bits.size * _BYTE_BITS), bitorder="little"
        )
        scores[: fits.size][fits == 0] = -np.inf
        scores[fits.size :] = -np.inf

    def take(self, token: int) -> None:
        """Goes on by a token; ExecutionFailed where the grammar has become too complex."""
        if not self._matcher.consume_token(token):
            raise ExecutionFailed(f"schema_failed: {self._matcher.get_error()}", final=True)


class Grammars:
    """Starts grammars over one model's tokens; several threads may ask at once."""

    def __init__(self, model: ModelFolder) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._tokens: Any = None

    def start(self, schema: str | None) -> Grammar | None:
        """The grammar of a JSON Schema, none for none; ExecutionFailed, `invalid_schema: …`."""
        if schema is None:
            return None
        guidance = import_module("llguidance")
        with self._lock:
            if self._tokens is None:
                ends = sorted(self._model.stop_ids)
                text = self._model.tokenizer.to_str()
                self._tokens = guidance.LLTokenizer(text, eos_token=ends or None)
        try:
            grammar = guidance.LLMatcher.grammar_from_json_schema(schema, overrides=_PRINTED)
        except ValueError as error:
            raise ExecutionFailed(f"invalid_schema: {error}", final=True) from None
        matcher = guidance.LLMatcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            raise ExecutionFailed(f"invalid_schema: {_first_line(matcher.get_error())}", final=True)
        return Grammar(matcher)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
