"""A user's text turned into the tokens that a model is asked with."""

import secrets

from tokenizers import Tokenizer

from dispatchd.engine.chat import ChatTemplate
from dispatchd.engine.folder import ModelFolder
from dispatchd.engine.text import whole


class PromptEncoder:
    """Encodes prompts so that only the template, never the user, can write special tokens."""

    def __init__(self, model: ModelFolder, template: ChatTemplate | None) -> None:
        self._template = template
        self._obeying = model.tokenizer
        self._literal = model.literal_tokenizer
        self._special = frozenset(
            token
            for token, added in self._obeying.get_added_tokens_decoder().items()
            if added.special
        )

    def encode(self, prompt: str) -> list[int]:
        """The tokens of one user turn, or of the bare text where there is no template."""
        prompt = whole(prompt)
        if self._template is None:
            return self._literal.encode(prompt).ids
        together = _encode(self._obeying, self._template.render(prompt))
        apart = self._encode_apart(self._template, prompt)
        # Encoded together is what the model was trained on, as long as nothing was smuggled in.
        return together if self._specials(together) == self._specials(apart) else apart

    def _encode_apart(self, template: ChatTemplate, prompt: str) -> list[int]:
        mark = secrets.token_hex(16)
        first, *rest = template.render(mark).split(mark)
        ids = _encode(self._obeying, first)
        literal = _encode(self._literal, prompt)
        for piece in rest:
            ids += literal + _encode(self._obeying, piece)
        return ids

    def _specials(self, ids: list[int]) -> list[int]:
        return [token for token in ids if token in self._special]


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids
