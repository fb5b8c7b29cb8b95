"""A conversation turned into the tokens that a model is asked with."""

import re
import secrets
from collections.abc import Sequence

import msgspec
from tokenizers import Tokenizer

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.chat import TEMPLATE_ERRORS, ChatTemplate
from dispatchd.engine.folder import ModelFolder
from dispatchd.engine.request import Message
from dispatchd.engine.text import whole


class PromptEncoder:
    """Encodes prompts so that only the template, never a message, can write special tokens."""

    def __init__(self, model: ModelFolder, template: ChatTemplate | None) -> None:
        self._template = template
        self._obeying = model.tokenizer
        self._literal = model.literal_tokenizer
        self._special = frozenset(
            token
            for token, added in self._obeying.get_added_tokens_decoder().items()
            if added.special
        )

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The conversation's tokens, or those of its bare text where there is no template.

        Raises ExecutionFailed("invalid_messages: …") where the template refuses them.
        """
        messages = [_with_content(turn, whole(turn.content)) for turn in messages]
        if self._template is None:
            return self._literal.encode("\n".join(turn.content for turn in messages)).ids
        together = _encode(self._obeying, _render(self._template, messages))
        apart = self._encode_apart(self._template, messages)
        # Encoded together is what the model was trained on, as long as nothing was smuggled in.
        return together if self._specials(together) == self._specials(apart) else apart

    def _encode_apart(self, template: ChatTemplate, messages: Sequence[Message]) -> list[int]:
        nonce = secrets.token_hex(16)
        marked = [_with_content(turn, f"{nonce}{n}x") for n, turn in enumerate(messages)]
        first, *rest = re.split(rf"{nonce}(\d+)x", _render(template, marked))
        ids = _encode(self._obeying, first)
        # The split gives the number of a message, the template's text after it, and so on.
        for number, text in zip(rest[::2], rest[1::2], strict=True):
            ids += _encode(self._literal, messages[int(number)].content)
            ids += _encode(self._obeying, text)
        return ids

    def _specials(self, ids: list[int]) -> list[int]:
        return [token for token in ids if token in self._special]


def _with_content(turn: Message, content: str) -> Message:
    return msgspec.structs.replace(turn, content=content)


def _render(template: ChatTemplate, messages: Sequence[Message]) -> str:
    try:
        return template.render(messages)
    except TEMPLATE_ERRORS as error:
        raise ExecutionFailed(f"invalid_messages: {error}", final=True) from error


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids
