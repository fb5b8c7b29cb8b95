"""Calls as OpenAI's clients send them: each becomes an ordinary order, or an error naming why not.

What would change the output and is not supported is refused; other unknown fields are ignored.
"""

import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from dispatchd.api.openai_errors import invalid, unsupported
from dispatchd.api.schema import (
    MAX_TOKENS_MAX,
    LlmPayload,
    NonEmpty,
    Tokens,
    UserId,
    decode,
    fingerprint_of,
)
from dispatchd.coordinator.intake import Order
from dispatchd.core.job import JobType, Privacy, Tier

DEFAULT_USER = "openai"
STOP_STRINGS_MAX = 16

_SEED_BITS = 53  # readers of JSON whose numbers are doubles see every digit
_INT_64 = Meta(ge=-(2**63), le=2**63 - 1)
_FLOAT_64 = Meta(ge=-(2**63), lt=2**63, multiple_of=1)  # some printers write 40 as 40.0
# For the OpenAPI document only: what is no single text is refused with a sentence of its own.
_ONE_TEXT = Meta(
    extra_json_schema={
        "minItems": 1,
        "maxItems": 1,
        "items": {"type": "string", "minLength": 1},
    }
)

_Harmless = MappingProxyType[str, tuple[object, ...]]
# What is not supported, with the values that ask for nothing.
_UNSUPPORTED: _Harmless = MappingProxyType(
    {
        "n": (1,),
        "logit_bias": ({},),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "repetition_penalty": (1,),
        "repeat_penalty": (1,),
        "min_p": (0,),
        "min_tokens": (0,),
        "stop_token_ids": ([],),
        "use_beam_search": (False,),
        "grammar": (),
        "json_schema": (),
        "guided_json": (),
        "guided_regex": (),
        "guided_choice": (),
        "guided_grammar": (),
        "structured_outputs": (),
        "chat_template": (),
    }
)
_UNSUPPORTED_IN_CHAT: _Harmless = MappingProxyType(
    {
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "functions": ([],),
        "function_call": ("none", "auto"),
        "response_format": ({"type": "text"},),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "modalities": (["text"],),
        "audio": (),
        "web_search_options": (),
        "verbosity": ("medium",),
    }
)
_UNSUPPORTED_IN_COMPLETIONS: _Harmless = MappingProxyType(
    {
        "best_of": (1,),
        "echo": (False,),
        "suffix": ("",),
        "logprobs": (False,),
        "response_format": ({"type": "text"},),
    }
)
_SUPPORTED_ROLES = ("system", "developer", "user", "assistant")


class StreamOptions(Struct, frozen=True):
    """What a streaming caller wants besides the text."""

    include_usage: bool | None = None


class _Call(Struct, frozen=True, kw_only=True):
    """What both kinds of call may carry."""

    model: NonEmpty | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | Annotated[float, Meta(ge=-1, multiple_of=1)] | None = None
    seed: Annotated[int, _INT_64] | Annotated[float, _FLOAT_64] | None = None
    stop: NonEmpty | Annotated[list[NonEmpty], Meta(max_length=STOP_STRINGS_MAX)] | None = None
    ignore_eos: bool | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    stop_token_ids: Annotated[list[int], Meta(max_length=64)] | None = None
    user: UserId | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Part(Struct, frozen=True):
    """A part of a message; only text is taken."""

    type: str
    text: str | None = None


class Turn(Struct, frozen=True):
    """One message of a chat, with what marks it as one that cannot be taken."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class ChatCall(_Call, frozen=True, kw_only=True):
    """The body of a chat completion."""

    messages: Annotated[list[Turn], Meta(min_length=1)]


class TextCall(_Call, frozen=True, kw_only=True):
    """The body of a text completion."""

    prompt: NonEmpty | Annotated[list[Any], _ONE_TEXT]


class Asked(Struct, frozen=True):
    """A call that can be answered: its order, and how the reply shall look."""

    order: Order
    model: str | None
    stream: bool
    include_usage: bool


def parse_chat(body: str) -> Asked:
    """The body of a chat completion; raises `Invalid` or `Refused`."""
    _refuse_unsupported(body, _UNSUPPORTED | _UNSUPPORTED_IN_CHAT)
    call = decode(body, ChatCall)
    turns = enumerate(call.messages)
    return _asked(call, {"messages": [_message(turn, f"messages[{i}]") for i, turn in turns]})


def parse_text(body: str) -> Asked:
    """The body of a text completion; raises `Invalid` or `Refused`."""
    _refuse_unsupported(body, _UNSUPPORTED | _UNSUPPORTED_IN_COMPLETIONS)
    call = decode(body, TextCall)
    return _asked(call, {"prompt": _prompt(call.prompt)})


def _refuse_unsupported(body: str, names: Mapping[str, tuple[object, ...]]) -> None:
    given = decode(body, dict[str, Any])
    for name, harmless in names.items():
        value = given.get(name)
        if value is None or any(_equal(value, each) for each in harmless):
            continue
        allowed = " or ".join(msgspec.json.encode(each).decode() for each in harmless)
        advice = f"leave it out or give {allowed}" if allowed else "leave it out"
        raise unsupported(name, f"{name} is not supported here with this value: {advice}")


def _equal(value: object, other: object) -> bool:
    return value == other and isinstance(value, bool) is isinstance(other, bool)


def _message(turn: Turn, where: str) -> dict[str, str]:
    if turn.role not in _SUPPORTED_ROLES:
        raise unsupported(f"{where}.role", f"Messages with the role {turn.role} are not supported")
    for name in ("tool_calls", "function_call", "audio"):
        if getattr(turn, name):
            raise unsupported(f"{where}.{name}", f"{where}.{name} is not supported here")
    return {"role": turn.role, "content": _content(turn.content, f"{where}.content")}


def _content(content: str | list[Part] | None, where: str) -> str:
    if content is None:
        raise invalid(where, f"{where} must be text")
    if isinstance(content, str):
        return content
    for i, part in enumerate(content):
        if part.type != "text":
            sentence = f"Parts of the type {part.type} are not supported: only text is"
            raise unsupported(f"{where}[{i}].type", sentence)
        if part.text is None:
            raise invalid(f"{where}[{i}].text", f"{where}[{i}].text is missing")
    return "".join(part.text or "" for part in content)


def _prompt(prompt: str | list[Any]) -> str:
    one = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
    if not isinstance(one, str):
        raise unsupported("prompt", "prompt must be one text: neither several nor tokens are taken")
    if not one:
        raise invalid("prompt", "prompt must not be empty")
    return one


def _asked(call: _Call, what: dict[str, object]) -> Asked:
    # Of the call as it came: a seed that is drawn here would make equal calls different.
    fingerprint = fingerprint_of(type(call).__name__, msgspec.to_builtins(call))
    temperature = 0 if call.top_p == 0 else call.temperature  # of no mass is left the best token
    how = {
        "max_tokens": _max_tokens(call),
        "temperature": temperature,
        "top_p": call.top_p or None,
        "top_k": int(call.top_k) if call.top_k and call.top_k > 0 else None,
        "seed": _seed(call.seed, temperature),
        "stop": call.stop,
        "ignore_eos": call.ignore_eos,
        "min_p": call.min_p or None,
        "repetition_penalty": call.repetition_penalty,
        "stop_token_ids": call.stop_token_ids or None,
        "model": call.model,
    }
    given = {name: value for name, value in how.items() if value is not None}
    payload = msgspec.json.encode({"job_type": JobType.LLM_INFER} | what | given).decode()
    options = call.stream_options or StreamOptions()
    return Asked(
        order=_order(payload, call.user or DEFAULT_USER, fingerprint),
        model=call.model,
        stream=bool(call.stream),
        include_usage=bool(options.include_usage),
    )


def _order(payload: str, user_id: str, fingerprint: str) -> Order:
    inner = decode(payload, LlmPayload)
    return Order(
        job_type=JobType.LLM_INFER,
        tier=Tier.FAST,
        privacy=Privacy.PUBLIC,
        user_id=user_id,
        payload=payload,
        extended=inner.extended,
        model=inner.model,
        fingerprint=fingerprint,
    )


def _max_tokens(call: _Call) -> int | None:
    old, new = call.max_tokens, call.max_completion_tokens
    if None not in (old, new) and old != new:
        raise invalid("max_tokens", "max_tokens and max_completion_tokens must not differ")
    name = "max_tokens" if new is None else "max_completion_tokens"
    tokens = old if new is None else new
    if tokens is not None and not (tokens.is_integer() and 1 <= tokens <= MAX_TOKENS_MAX):
        raise invalid(name, f"{name} must be a whole number from 1 to {MAX_TOKENS_MAX}")
    return None if tokens is None else int(tokens)


def _seed(seed: float | None, temperature: float | None) -> int | None:
    """A drawn text gets its seed here, so that another attempt goes on with the same text."""
    if seed is not None:
        return int(seed)
    return secrets.randbits(_SEED_BITS) if temperature else None
