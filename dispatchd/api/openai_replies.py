"""What OpenAI's clients get back: whole replies and the chunks of a stream, chat or text."""

from typing import Protocol

import msgspec
from msgspec import Struct

from dispatchd.api.openai_errors import INVALID_OUTPUT, NO_RETRY, Asks, Refused, job_problem
from dispatchd.core.job import Job, JobStatus

_UNNAMED = "default"
"""The model of a reply for which nobody has named one."""

_TOKENS_MAX = 2**53


class Result(Struct, frozen=True):
    """The output of an LLM_INFER job; other people's workers may tell no more than the text.

    What they say besides may be of any kind, and is left out where it is not what it should be.
    """

    text: str
    model: object = None
    prompt_tokens: object = None
    completion_tokens: object = None
    finish_reason: object = None

    @property
    def answered_by(self) -> str | None:
        """The model, where the worker has told it."""
        return self.model if isinstance(self.model, str) else None

    @property
    def reason(self) -> str:
        """Why the text ends, in OpenAI's words."""
        return "length" if self.finish_reason == "length" else "stop"

    @property
    def usage(self) -> dict[str, int] | None:
        """The token counts, where the worker has told them."""
        asked, made = _count(self.prompt_tokens), _count(self.completion_tokens)
        if asked is None or made is None:
            return None
        return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def _count(value: object) -> int | None:
    """A number of tokens, also one like 256.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= _TOKENS_MAX and value % 1 == 0 else None


class Style(Protocol):
    """How one kind of reply is written."""

    prefix: str
    whole: str
    chunk: str

    def choice(self, text: str) -> dict[str, object]:
        """The text of a whole reply."""
        ...

    def opening(self) -> dict[str, object] | None:
        """What a stream begins with."""
        ...

    def piece(self, text: str) -> dict[str, object]:
        """More text of a stream; the last piece is empty."""
        ...


class ChatStyle:
    """Replies of /v1/chat/completions."""

    prefix = "chatcmpl-"
    whole = "chat.completion"
    chunk = "chat.completion.chunk"

    def choice(self, text: str) -> dict[str, object]:
        """The assistant's message."""
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def opening(self) -> dict[str, object] | None:
        """Whose message follows."""
        return {"delta": {"role": "assistant", "content": ""}}

    def piece(self, text: str) -> dict[str, object]:
        """More of the message."""
        return {"delta": {"content": text} if text else {}}


class TextStyle:
    """Replies of /v1/completions."""

    prefix = "cmpl-"
    whole = chunk = "text_completion"

    def choice(self, text: str) -> dict[str, object]:
        """The text."""
        return {"text": text}

    def opening(self) -> dict[str, object] | None:
        """Nothing goes before the text."""
        return None

    def piece(self, text: str) -> dict[str, object]:
        """More of the text."""
        return {"text": text}


class Writer(Struct, frozen=True):
    """Writes the reply to one call."""

    style: Style
    job_id: str
    created: int
    model: str | None
    include_usage: bool

    def reply(self, result: Result) -> dict[str, object]:
        """The whole reply."""
        head = self._head(self.style.whole, self.model or result.answered_by)
        choices = [_choice(self.style.choice(result.text), result.reason)]
        return head | {"choices": choices, "usage": result.usage}

    def opening(self) -> list[str]:
        """The events before the first text."""
        opening = self.style.opening()
        return [] if opening is None else [self._chunk(opening, None)]

    def piece(self, text: str) -> str:
        """More text, as an event."""
        return self._chunk(self.style.piece(text), None)

    def closing(self, result: Result) -> list[str]:
        """The events after the last text."""
        events = [self._chunk(self.style.piece(""), result.reason)]
        if self.include_usage:
            head = self._head(self.style.chunk, self.model)
            events.append(event(head | {"choices": [], "usage": result.usage}))
        return [*events, "data: [DONE]\n\n"]

    def _chunk(self, content: dict[str, object], reason: str | None) -> str:
        usage = {"usage": None} if self.include_usage else {}
        choices = {"choices": [_choice(content, reason)]}
        return event(self._head(self.style.chunk, self.model) | choices | usage)

    def _head(self, kind: str, model: str | None) -> dict[str, object]:
        return {
            "id": f"{self.style.prefix}{self.job_id}",
            "object": kind,
            "created": self.created,
            "model": model or _UNNAMED,
            "system_fingerprint": None,
        }


def _choice(content: dict[str, object], reason: str | None) -> dict[str, object]:
    return {"index": 0} | content | {"logprobs": None, "finish_reason": reason}


def event(value: dict[str, object]) -> str:
    """A server-sent event without a name; JSON as it is printed here has no line breaks."""
    return f"data: {msgspec.json.encode(value).decode()}\n\n"


def result_of(job: Job, asks: Asks) -> Result:
    """What a job that has ended came to; raises `Refused` where it failed."""
    if job.status is JobStatus.FAILED:
        raise Refused(job_problem(job.error or "", asks), dict(NO_RETRY))
    try:
        return msgspec.json.decode(job.output or "", type=Result)
    except (msgspec.DecodeError, RecursionError):
        raise Refused(INVALID_OUTPUT, dict(NO_RETRY)) from None
