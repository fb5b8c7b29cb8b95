"""Tokens turned into text while they arrive, whole characters at a time."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what needs no tokenizer loads none
    from tokenizers import Tokenizer

_BROKEN = "\ufffd"
# A character has at most four bytes; what is still none after this many tokens is noise.
_HELD_TOKENS_MAX = 64


def whole(text: str) -> str:
    """The text with surrogate pairs joined and lone ones replaced, so that it can be encoded."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Detokenizer:
    """Gives each character once all of its bytes are there; special tokens give nothing."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        self._shown: list[int] = []
        self._held: list[int] = []

    def add(self, token: int) -> str:
        """The text that this token completes; often nothing."""
        self._held.append(token)
        text = self._waiting()
        if text.endswith(_BROKEN) and len(self._held) <= _HELD_TOKENS_MAX:
            return ""
        # The tokens just shown stay as context: a decoder may treat its first token differently.
        self._shown, self._held = self._held, []
        return text

    def end(self) -> str:
        """What was held back, without the bytes that never became a character."""
        text = self._waiting().rstrip(_BROKEN)
        self._shown, self._held = [], []
        return text

    def _waiting(self) -> str:
        before = self._decode(self._shown)
        return self._decode(self._shown + self._held)[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)
