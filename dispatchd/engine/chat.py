"""A model's own chat template, rendered for a conversation."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dispatchd.core.errors import Unusable
from dispatchd.engine.folder import ModelFolder
from dispatchd.engine.request import Message

# What a template's own code raises, be it on purpose or because it did not expect a message.
TEMPLATE_ERRORS = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ChatTemplate:
    """The template, compiled; the folder's code runs in a sandbox."""

    def __init__(
        self, source: str, model: ModelFolder, now: Callable[[], datetime] = _utc_now
    ) -> None:
        self._template = _environment(now).from_string(source)
        self._tokens = {"bos_token": model.bos_token, "eos_token": model.eos_token}

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt that asks the model for the next turn; raises `TEMPLATE_ERRORS`."""
        return self._template.render(
            messages=[{"role": turn.role, "content": turn.content} for turn in messages],
            add_generation_prompt=True,
            **self._tokens,
        )


def compile_template(model: ModelFolder) -> ChatTemplate | None:
    """The folder's template, None where it has none; Unusable if it does not carry a message."""
    if not model.chat_template:
        return None
    try:
        template = ChatTemplate(model.chat_template, model)
        carried = "ping" in template.render([Message("user", "ping")])
    except TEMPLATE_ERRORS as error:
        raise Unusable(
            f"The chat template of {model.name} fails ({error}): correct its chat_template."
        ) from error
    if not carried:
        raise Unusable(
            f"The chat template of {model.name} leaves out the user's message: correct it."
        )
    return template


def _environment(now: Callable[[], datetime]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda pattern: now().strftime(pattern)
    return environment


def _to_json(value: object, indent: int | None = None) -> str:
    # Jinja's own filter escapes for HTML, which would change what the model reads.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
