"""What OpenAI's clients get back: whole replies and the chunks of a stream, chat or text."""

from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from dispatchd.api.openai_errors import NO_RETRY, Problem, Refused, job_problem
from dispatchd.core.job import Job, JobStatus

_UNNAMED = "default"
"""The model of a stream whose caller named none: which one answers is known at its end."""


class Result(Struct, frozen=True):
    """The output of an LLM_INFER job; other people's workers may count no tokens."""

    text: str
    model: str | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    finish_reason: str | None = None

    @property
    def reason(self) -> str:
        """Why the text ends, in OpenAI's words."""
        return "length" if self.finish_reason == "length" else "stop"

    @property
    def usage(self) -> dict[str, int] | None:
        """The token counts, where the worker has told them."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        asked, made = int(self.prompt_tokens), int(self.completion_tokens)
        return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


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
        head = self._head(self.style.whole, result.model)
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
            head = self._head(self.style.chunk, result.model)
            events.append(event(head | {"choices": [], "usage": result.usage}))
        return [*events, "data: [DONE]\n\n"]

    def _chunk(self, content: dict[str, object], reason: str | None) -> str:
        usage = {"usage": None} if self.include_usage else {}
        choices = {"choices": [_choice(content, reason)]}
        return event(self._head(self.style.chunk, None) | choices | usage)

    def _head(self, kind: str, answered_by: str | None) -> dict[str, object]:
        return {
            "id": f"{self.style.prefix}{self.job_id}",
            "object": kind,
            "created": self.created,
            "model": self.model or answered_by or _UNNAMED,
            "system_fingerprint": None,
        }


def _choice(content: dict[str, object], reason: str | None) -> dict[str, object]:
    return {"index": 0} | content | {"logprobs": None, "finish_reason": reason}


def event(value: dict[str, object]) -> str:
    """A server-sent event without a name; JSON as it is printed here has no line breaks."""
    return f"data: {msgspec.json.encode(value).decode()}\n\n"


def result_of(job: Job, kind: Literal["messages", "prompt"]) -> Result:
    """What a job that has ended came to; raises `Refused` where it failed."""
    if job.status is JobStatus.FAILED:
        problem = job_problem(job.error or "")
        if problem.param == "messages":
            problem = msgspec.structs.replace(problem, param=kind)
        raise Refused(problem, dict(NO_RETRY))
    try:
        return msgspec.json.decode(job.output or "", type=Result)
    except (msgspec.DecodeError, RecursionError):
        sentence = "The worker's output is not what an LLM_INFER job gives"
        raise Refused(Problem(502, sentence, "invalid_output"), dict(NO_RETRY)) from None
