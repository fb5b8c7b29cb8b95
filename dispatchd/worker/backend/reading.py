"""A streamed chat completion: bytes as they arrive become text, and at the end its figures."""

from typing import Literal

import msgspec
from msgspec import Struct

from dispatchd.wire.events import Event, EventParser, EventTooLong
from dispatchd.worker.backend.failure import (
    BackendFailed,
    ErrorObject,
    Trouble,
    failure_of,
)

EVENT_BYTES_MAX = 1024 * 1024
_DONE = "[DONE]"
_AT_THE_LIMIT = frozenset({"length", "max_tokens"})
_CUT_OFF = frozenset({"abort", "error"})
"""vLLM and SGLang say so of a generation that they gave up."""


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: ErrorObject | str | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class Told(Struct, frozen=True):
    """What a backend has said in all; without its own count, each piece of text was a token."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int | None
    completion_tokens: int


class Reading:
    """Reads one reply, however its bytes are cut. Raises `BackendFailed`."""

    def __init__(self) -> None:
        self._parser = EventParser(EVENT_BYTES_MAX)
        self._texts: list[str] = []
        self._usage = _Usage()
        self._finish: str | None = None
        self._done = False

    @property
    def begun(self) -> bool:
        """Whether there is text."""
        return bool(self._texts)

    @property
    def complete(self) -> bool:
        """Whether the text is whole; figures may still come."""
        return self._done or self._finish is not None

    @property
    def done(self) -> bool:
        """Whether nothing comes any more."""
        return self._done

    def feed(self, chunk: bytes) -> str:
        """The text in these bytes."""
        known = len(self._texts)
        try:
            for event in self._parser.feed(chunk):
                self._read(event)
        except EventTooLong:
            raise BackendFailed(Trouble.BROKEN, "an event of its stream is too long") from None
        return "".join(self._texts[known:])

    def told(self) -> Told:
        """All of it; raises where the stream ended before the text did."""
        if not self.complete:
            raise BackendFailed(Trouble.BROKEN, "it broke off")
        counted = self._usage.completion_tokens
        return Told(
            text="".join(self._texts),
            finish_reason="length" if self._finish in _AT_THE_LIMIT else "stop",
            prompt_tokens=self._usage.prompt_tokens,
            completion_tokens=len(self._texts) if counted is None else counted,
        )

    def _read(self, event: Event) -> None:
        data = event.data.strip()
        if data == _DONE:
            self._done = True
        if self._done or not data:
            return
        chunk = _decoded(data)
        if chunk.error is not None:
            raise self._failure(chunk.error)
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._hear(choice)

    def _hear(self, choice: _Choice) -> None:
        if self._finish is not None:
            return
        if choice.delta is not None and choice.delta.content:
            self._texts.append(choice.delta.content)
        if choice.finish_reason in _CUT_OFF:
            raise BackendFailed(Trouble.BROKEN, "it gave the text up")
        self._finish = choice.finish_reason or None  # LocalAI sends "" before the end

    def _failure(self, error: ErrorObject | str) -> BackendFailed:
        if isinstance(error, str):
            error = ErrorObject(error)
        if self.begun:
            return BackendFailed(Trouble.BROKEN, "an error amid the text")
        return failure_of(error.status, error)


def _decoded(data: str) -> _Chunk:
    try:
        return _CHUNK.decode(data)
    except (ValueError, RecursionError):
        raise BackendFailed(Trouble.BROKEN, "its stream cannot be read") from None
