"""What is logged goes to stderr, one event a line, for people or for programs."""

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from dispatchd.core.clock import iso

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def log_to_stderr(level: str, form: str) -> None:
    """Logs what is of that level or above; stdout is for what the command says.

    `form` is one of `config.LOG_FORMATS`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMATTERS[form]())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """`TIME LEVEL LOGGER: job ID attempt N: WORDS`; the traceback of an error lies below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without its traceback."""
        record.message = _one_line(_subject(record) + record.message)
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """An object a line: `time`, `level`, `logger`, `message`, and where they apply others.

    Those are `job_id` and `attempt` (null where the line is of no attempt), and `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The whole line."""
        said: dict[str, object] = {
            "time": iso(round(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {name: vars(record)[name] for name in ("job_id", "attempt") if name in vars(record)}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            said["stack"] = record.stack_info
        return json.dumps(said)


def _subject(record: logging.LogRecord) -> str:
    job_id = getattr(record, "job_id", None)
    if job_id is None:
        return ""
    attempt = getattr(record, "attempt", None)
    return f"job {job_id}: " if attempt is None else f"job {job_id} attempt {attempt}: "


def _one_line(text: str) -> str:
    """The text with escapes for what would end the line, or move a terminal's cursor."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


_FORMATTERS: Mapping[str, Callable[[], logging.Formatter]] = MappingProxyType(
    {"text": TextLines, "json": JsonLines}
)
