"""Log lines about jobs: which job and which attempt, and none of what people wrote."""

import logging
import re

_CODE = re.compile(r"([a-z][a-z0-9_]{0,63})(?=:|\Z)")


def about(
    log: logging.Logger, job_id: str, attempt: int | None
) -> "logging.LoggerAdapter[logging.Logger]":
    """The logger for lines about one attempt at a job.

    A line about its payment alone is of no attempt.
    """
    return logging.LoggerAdapter(log, {"job_id": job_id, "attempt": attempt})


def code_in(reason: str) -> str:
    """The code that a reason begins with: a worker's words may repeat prompts and results."""
    code = _CODE.match(reason)
    return code[1] if code else "the worker's own words"


def wordless(error: BaseException) -> Exception:
    """An error to be logged with where it was raised, and its kind, but without its message."""
    return _Broke(type(error).__name__).with_traceback(error.__traceback__)


class _Broke(Exception):
    """Some error; its kind is the message."""
