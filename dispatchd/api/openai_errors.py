"""Errors as OpenAI's clients read them: an object with `message`, `type`, `param` and `code`."""

import logging
import re
from types import MappingProxyType

from aiohttp import web
from msgspec import Struct

from dispatchd.api.errors import HINTS, STATUS, Handler, code_of, json_response, retry_after
from dispatchd.core.errors import DispatchError, Invalid

log = logging.getLogger(__name__)

JOB_ID_HEADER = "X-Dispatch-Job-Id"
# OpenAI's clients repeat what fails with 409 or 5xx. What a job ended with has been tried already.
NO_RETRY = MappingProxyType({"x-should-retry": "false"})

_SERVER_ERROR = 500
_TYPES = MappingProxyType({404: "not_found_error", 409: "conflict_error", 429: "rate_limit_error"})
_FIELD = re.compile(r"(?P<field>[\w.\[\]]+)(?:: | is missing| must )")


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
    return Refused(Problem(400, sentence, "unsupported_parameter", param))


def invalid(param: str, sentence: str) -> Refused:
    """A value that is none."""
    return Refused(Problem(400, sentence, "invalid_value", param))


_CONTEXT = "The messages are longer than what the model can hold"
_JOB_PROBLEMS = MappingProxyType(
    {
        "prompt_too_long": Problem(400, _CONTEXT, "context_length_exceeded", "messages"),
        "empty_prompt": Problem(
            400, "There is no text in the messages", "empty_prompt", "messages"
        ),
        "invalid_messages": Problem(
            400, "The model cannot take messages in this order", "invalid_messages", "messages"
        ),
        "invalid_payload": Problem(400, "The worker cannot read the call", "invalid_payload"),
        "model_not_found": Problem(404, "The worker lacks the model", "model_not_found", "model"),
        "cancelled": Problem(409, "The job was cancelled", "cancelled"),
        "worker_disconnected": Problem(
            502, "The worker left before the job was done", "worker_disconnected"
        ),
        "no_eligible_worker": Problem(
            503, "No worker that can do the job is online", "no_eligible_worker"
        ),
        "timeout": Problem(504, "The job took too long", "timeout"),
    }
)


def job_problem(reason: str) -> Problem:
    """What a failed job's error means to the caller; workers may give reasons of their own."""
    code, _, detail = reason.partition(": ")
    known = _JOB_PROBLEMS.get(code)
    if known is None:
        return Problem(500, f"The job failed: {reason}", code)
    message = f"{known.message}: {detail}" if detail else known.message
    return Problem(known.status, message, known.code, known.param)


def problem_of(error: DispatchError | Refused) -> Problem:
    """An error of the coordinator's or of ours, as OpenAI's clients read it."""
    if isinstance(error, Refused):
        return error.problem
    hint = HINTS.get(error.code)
    sentence = str(error) if hint is None else f"{error}. {hint}"
    field = _FIELD.match(str(error)) if isinstance(error, Invalid) else None
    code = "invalid_value" if field else error.code
    return Problem(STATUS[error.code], sentence, code, field["field"] if field else None)


def about_job(error: DispatchError | Refused, headers: dict[str, str]) -> Refused:
    """What went wrong once there was a job; the headers say of which, and how it was paid."""
    own = error.headers if isinstance(error, Refused) else retry_after(error)
    return Refused(problem_of(error), headers | (own or {}))


def shaped(handler: Handler) -> Handler:
    """A handler whose errors all become replies of OpenAI's shape."""

    async def shape(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as error:
            return _reply(error.problem, error.headers)
        except DispatchError as error:
            return _reply(problem_of(error), retry_after(error))
        except web.HTTPException as error:
            return _reply(Problem(error.status, error.reason, code_of(error.status)))
        except Exception:
            log.exception("%s %s broke", request.method, request.path)
            return _reply(Problem(500, "Internal error; the node's log says more", "internal"))

    return shape


def _reply(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    return json_response(problem.body(), problem.status, headers)
