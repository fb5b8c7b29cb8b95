"""Errors as OpenAI's clients read them: an object with `message`, `type`, `param` and `code`."""

import logging
import re
from types import MappingProxyType
from typing import Literal

from aiohttp import web
from msgspec import Struct

from dispatchd.api.errors import (
    HINTS,
    INTERNAL,
    STATUS,
    Handler,
    code_of,
    headers_of,
    json_response,
    sentence_of,
)
from dispatchd.core.errors import (
    DispatchError,
    FacilitatorAway,
    Invalid,
    NoEligibleWorker,
    Stopping,
    StoreUnavailable,
    TooMany,
    TooManyOpenPayments,
    TooSlow,
    Unauthorized,
    UnsupportedMediaType,
)
from dispatchd.core.joblog import wordless

log = logging.getLogger(__name__)

Asks = Literal["messages", "prompt"]
"""The parameter that holds what is asked."""

JOB_ID_HEADER = "X-Dispatch-Job-Id"
# OpenAI's clients repeat what fails with 409 or 5xx. What a job ended with has been tried already.
NO_RETRY = MappingProxyType({"x-should-retry": "false"})

_INVALID_VALUE = "invalid_value"
_UNSUPPORTED = "unsupported_parameter"
_NO_MODEL = "model_not_found"
_NO_WORKER = "no_eligible_worker"
_SERVER_ERROR = 500
_TYPES = MappingProxyType(
    {
        401: "authentication_error",
        404: "not_found_error",
        409: "conflict_error",
        429: "rate_limit_error",
    }
)
_FIELD = re.compile(r"(?P<field>\w[\w.\[\]]*)(?:: | is missing| must )")


class Problem(Struct, frozen=True):
    """What went wrong: a sentence, the parameter that is at fault, and a stable code."""

    status: int
    message: str
    code: str
    param: str | None = None

    def body(self) -> dict[str, object]:
        """The object that clients read."""
        kind = "server_error" if self.status >= _SERVER_ERROR else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }


class Refused(Exception):
    """A call that is answered with a problem."""

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.headers = headers


def unsupported(param: str, sentence: str) -> Refused:
    """A parameter, or a value of it, that would change the output and cannot be honoured."""
    return Refused(Problem(400, sentence, _UNSUPPORTED, param))


def invalid(param: str, sentence: str) -> Refused:
    """A value that is none."""
    return Refused(Problem(400, sentence, _INVALID_VALUE, param))


def no_such_model(name: str, known: list[str]) -> Refused:
    """A model that nobody has; where there is none at all, one may come."""
    if not known:
        sentence = "No worker with a model is online now: send the request again later"
        return Refused(Problem(503, sentence, _NO_WORKER), headers_of(NoEligibleWorker()))
    sentence = f"The model {name!r} does not exist: those here are {', '.join(known)}"
    return Refused(Problem(404, sentence, _NO_MODEL, "model"))


INVALID_OUTPUT = Problem(
    502, "The worker's output is not what an LLM_INFER job gives", "invalid_output"
)
DIVERGED = Problem(
    502, "The job was begun again and its text is another than what was sent", "text_diverged"
)
_ASKED = MappingProxyType({"messages": "The messages are", "prompt": "The prompt is"})
_LENGTH = "{asked} longer than what the model can hold"
_ORDER = "The model cannot take messages in this order"
_JOB_PROBLEMS = MappingProxyType(
    {
        "prompt_too_long": Problem(400, _LENGTH, "context_length_exceeded", "messages"),
        "empty_prompt": Problem(400, "{asked} without any text", "empty_prompt", "messages"),
        "invalid_messages": Problem(400, _ORDER, "invalid_messages", "messages"),
        "invalid_payload": Problem(400, "The worker cannot read the call", "invalid_payload"),
        _UNSUPPORTED: Problem(400, "The worker cannot honour a parameter", _UNSUPPORTED),
        "rejected_by_backend": Problem(
            400, "The worker's model server does not take the call", "rejected_by_backend"
        ),
        _NO_MODEL: Problem(404, "The model is not here", _NO_MODEL, "model"),
        "cancelled": Problem(409, "The job was cancelled", "cancelled"),
        "worker_disconnected": Problem(
            502, "The worker left before the job was done", "worker_disconnected"
        ),
        _NO_WORKER: Problem(503, "No worker that can do the job is online", _NO_WORKER),
        "timeout": Problem(504, "The job took too long", "timeout"),
    }
)
CODES = MappingProxyType(
    {
        problem.code: (problem.status, f"{problem.message.format(asked='What is asked is')}.")
        for problem in (*_JOB_PROBLEMS.values(), INVALID_OUTPUT, DIVERGED)
    }
    | {
        _INVALID_VALUE: (400, "A value that is none; `param` names it."),
        _UNSUPPORTED: (400, "What would change the output and cannot be honoured; see `param`."),
    }
)
"""The codes that only these routes give: status and meaning."""

SHARED_CODES = (
    *(
        Invalid.code,
        Unauthorized.code,
        TooSlow.code,
        "too_large",
        UnsupportedMediaType.code,
        TooMany.code,
    ),
    *(StoreUnavailable.code, Stopping.code, INTERNAL),
    *(TooManyOpenPayments.code, FacilitatorAway.code),
)
"""The codes of other routes that these give too."""

MODEL_CODES = (_NO_MODEL, _NO_WORKER)
"""What asking for a model may end with."""

# These calls take no Idempotency-Key, and need none: the job of one that failed is cancelled.
_HINTS = HINTS | {StoreUnavailable.code: "Send the same request again after Retry-After"}


def hint_of(code: str) -> str:
    """What the caller can do next, or nothing."""
    return _HINTS.get(code, "")


def job_problem(reason: str, asks: Asks) -> Problem:
    """What a failed job's error means to the caller; workers may give reasons of their own."""
    code, _, detail = reason.partition(": ")
    known = _JOB_PROBLEMS.get(code)
    if known is None:
        return Problem(500, f"The job failed: {reason}", code)
    sentence = known.message.format(asked=_ASKED[asks])
    message = f"{sentence}: {detail}" if detail else sentence
    param = asks if known.param == "messages" else known.param
    return Problem(known.status, message, known.code, param)


def problem_of(error: DispatchError | Refused) -> Problem:
    """An error of the coordinator's or of ours, as OpenAI's clients read it."""
    if isinstance(error, Refused):
        return error.problem
    field = _FIELD.match(str(error)) if isinstance(error, Invalid) else None
    code = _INVALID_VALUE if field else error.code
    sentence = _hinted(str(error), error.code)
    return Problem(STATUS[error.code], sentence, code, field["field"] if field else None)


def _hinted(sentence: str, code: str) -> str:
    hint = hint_of(code)
    return f"{sentence}. {hint}" if hint else sentence


def about_job(error: DispatchError | Refused, headers: dict[str, str]) -> Refused:
    """What went wrong once there was a job; the headers say of which, and how it was paid."""
    own = error.headers if isinstance(error, Refused) else headers_of(error)
    return Refused(problem_of(error), headers | (own or {}))


def shaped(handler: Handler) -> Handler:
    """A handler whose errors all become replies of OpenAI's shape."""

    async def shape(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as error:
            return _reply(error.problem, error.headers)
        except DispatchError as error:
            return _reply(problem_of(error), headers_of(error))
        except web.HTTPException as error:
            code = code_of(error.status)
            return _reply(Problem(error.status, _hinted(sentence_of(error), code), code))
        except Exception as error:
            log.exception("%s %s broke", request.method, request.path, exc_info=wordless(error))
            return _reply(Problem(500, "Internal error; the node's log says more", INTERNAL))

    return shape


def _reply(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    return json_response(problem.body(), problem.status, headers)
