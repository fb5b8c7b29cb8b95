"""What goes wrong with a backend, and whether that is the job's fault.

What a server says may repeat the prompt, so none of it gets into a reason: reasons are logged.
"""

import enum
import re
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Struct

from dispatchd.core.errors import ExecutionFailed


class Trouble(enum.Enum):
    """Kinds of failure; the value is the code that the job's client reads."""

    TOO_LONG = "prompt_too_long"
    UNSUPPORTED = "unsupported_parameter"
    REJECTED = "rejected_by_backend"
    BUSY = "backend_busy"
    KEY = "backend_key_refused"
    MISSING = "backend_model_missing"
    AWAY = "backend_unreachable"
    BROKEN = "backend_failed"


_OF_THE_JOB = frozenset({Trouble.TOO_LONG, Trouble.UNSUPPORTED, Trouble.REJECTED})
_BUSY = frozenset({429, 503})
_KEY = frozenset({401, 403})
_MISSING = 404
_PASSING = frozenset({408, 409, 425})
_AWAY = frozenset({502, 504})
_BAD_REQUEST, _SERVER_ERROR, _STATUS_MAX = 400, 500, 599
# vLLM, SGLang, llama.cpp, Ollama, OpenAI (and dispatchd), text-generation-inference; an older
# vLLM takes the room that is left for `max_tokens` where none was given, and complains of that.
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|maximum model length"
    r"|(exceeds?|longer than|greater than) the ((available|model's) )?context (size|length)"
    r"|max_tokens must be at least 1, got -|inputs tokens \+ max_new_tokens",
    re.IGNORECASE,
)
_TOO_LONG_TYPE = "exceed_context_size_error"  # llama.cpp once sent it with 500


class BackendFailed(ExecutionFailed):
    """An attempt that failed at the backend; final where the job itself is at fault.

    `said` is a few words about it, `retry_seconds` what the server asks to wait.
    """

    def __init__(self, trouble: Trouble, said: str = "", *, retry_seconds: float = 0.0) -> None:
        reason = f"{trouble.value}: {said}" if said else trouble.value
        super().__init__(reason, final=trouble in _OF_THE_JOB)
        self.trouble = trouble
        self.said = said
        self.retry_seconds = retry_seconds


class ErrorObject(Struct, frozen=True):
    """The object that OpenAI's error replies hold, as far as it is understood."""

    message: Any = None
    type: Any = None
    param: Any = None
    code: Any = None

    @property
    def text(self) -> str:
        """All that it says."""
        return f"{self.type} {self.code} {self.param} {self.message}"

    @property
    def status(self) -> int:
        """The HTTP status that it stands for, where it tells one."""
        code = self.code
        known = isinstance(code, int) and _BAD_REQUEST <= code <= _STATUS_MAX
        return code if known else _SERVER_ERROR


class _Body(Struct):
    error: ErrorObject | str | None = None
    detail: Any = None  # FastAPI's own
    message: Any = None  # an older vLLM's, without the object around it
    type: Any = None
    param: Any = None
    code: Any = None


def error_in(body: bytes) -> ErrorObject:
    """What the body of an error reply says; empty where it cannot be read."""
    try:
        found = msgspec.json.decode(body, type=_Body)
    except (ValueError, RecursionError):
        return ErrorObject()
    if isinstance(found.error, ErrorObject):
        return found.error
    message = found.error or found.message or found.detail
    return ErrorObject(message, found.type, found.param, found.code)


def failure_of(
    status: int, error: ErrorObject, sent: Collection[str] = (), *, retry_seconds: float = 0.0
) -> BackendFailed:
    """What an error reply to a request with these fields means."""
    if _is_too_long(status, error):
        return BackendFailed(Trouble.TOO_LONG)
    trouble = _trouble(status)
    if trouble is Trouble.REJECTED and (name := _named(error, sent)) is not None:
        return BackendFailed(Trouble.UNSUPPORTED, name)
    return BackendFailed(trouble, f"it answers {status}", retry_seconds=retry_seconds)


def _trouble(status: int) -> Trouble:
    if status in _BUSY:
        return Trouble.BUSY
    if status in _KEY:
        return Trouble.KEY
    if status == _MISSING:
        return Trouble.MISSING
    if status in _AWAY:
        return Trouble.AWAY
    refused = _BAD_REQUEST <= status < _SERVER_ERROR and status not in _PASSING
    return Trouble.REJECTED if refused else Trouble.BROKEN


def _is_too_long(status: int, error: ErrorObject) -> bool:
    if error.type == _TOO_LONG_TYPE:
        return True
    return _trouble(status) is Trouble.REJECTED and _TOO_LONG.search(error.text) is not None


def _named(error: ErrorObject, sent: Collection[str]) -> str | None:
    """The field of our request that an error is about."""
    if error.param in sent:
        return str(error.param)
    # Names of one word stand in prompts as well, which an error may repeat.
    names = [name for name in sent if "_" in name]
    return next((name for name in names if re.search(rf"\b{name}\b", error.text)), None)
