"""What `run` and `worker` log: one event a line, with the job and the attempt it is about."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from dispatchd.cli.logs import JsonLines, TextLines
from dispatchd.core.joblog import about, code_in, wordless
from tests.e2e.client import TASK, Client
from tests.support.machines import Machines
from tests.support.process import Process

DONE = re.compile(r"TASK done in")


def lines(process: Process) -> list[dict[str, Any]]:
    """What a stopped process logged."""
    return [json.loads(line) for line in process.err.text.splitlines()]


def test_json_lines_of_a_node_and_a_worker(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    logs = ("--log-format", "json")
    with (
        machines.coordinator(*logs) as node,
        machines.worker(node.url(), "--capability", "task", *logs) as worker,
    ):
        client = Client(node.url())
        client.workers(1)
        job_id = client.commit(TASK)
        client.until(job_id, "completed")
        worker.err.wait_for(DONE)
        assert worker.stop() == 0
        node.err.wait_for("left")
        assert node.stop() == 0
        for process in (node, worker):
            for line in lines(process):
                assert {"time", "level", "logger", "message"} <= line.keys()
                assert line["level"] == "info"
        (done,) = [line for line in lines(worker) if DONE.search(line["message"])]
        assert (done["job_id"], done["attempt"]) == (job_id, 1)
        assert TASK["input"] not in node.err.text + worker.err.text


def test_a_level_keeps_the_rest_away(tmp_path: Path) -> None:
    with Machines(tmp_path).run("--slots", "1", "--log-level", "warning") as node:
        client = Client(node.url())
        client.until(client.commit(TASK), "completed")
        assert node.stop() == 0
        assert node.err.text == ""


class Keeping(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def record(words: str, error: Exception | None = None) -> logging.LogRecord:
    """A record as `about` makes it."""
    handler = Keeping()
    log = logging.getLogger("tests.somewhere")
    log.addHandler(handler)
    log.propagate = False  # pytest-xdist cannot pass a lone surrogate on
    try:
        about(log, "j-1", 2).error("it said %s", words, exc_info=error)
    finally:
        log.removeHandler(handler)
        log.propagate = True
    return handler.records[0]


def raised(kind: type[Exception], words: str) -> Exception:
    """An error that knows where it was raised."""
    with pytest.raises(kind) as caught:
        raise kind(words)
    return caught.value


def test_what_others_say_cannot_make_a_line_of_its_own() -> None:
    said = TextLines().format(record("a\n2026 ERROR forged: x\x1b[2J\u2028y"))
    assert len(said.splitlines()) == 1
    assert "job j-1 attempt 2: it said a\\n2026" in said
    assert "\x1b" not in said


def test_an_exception_stays_on_its_line_in_json() -> None:
    error = raised(ValueError, "two\nlines")
    said = JsonLines().format(record("\ud800", error))
    text = TextLines().format(record("x", error))
    assert len(said.splitlines()) == 1
    line = json.loads(said)
    assert line["exception"].splitlines()[0] == "Traceback (most recent call last):"
    assert (line["job_id"], line["attempt"], line["level"]) == ("j-1", 2, "error")
    assert "test_logs.py" in text


def test_an_error_is_logged_without_its_words() -> None:
    said = TextLines().format(record("x", wordless(raised(KeyError, "my secret prompt"))))
    assert "KeyError" in said
    assert "test_logs.py" in said
    assert "my secret prompt" not in said


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("timeout", "timeout"),
        ("invalid_schema: what was asked", "invalid_schema"),
        ("I cannot say: what was asked", "the worker's own words"),
        ("", "the worker's own words"),
        ("x" * 65, "the worker's own words"),
        ("code\nmore", "the worker's own words"),
    ],
)
def test_only_the_code_of_a_reason_is_logged(reason: str, code: str) -> None:
    assert code_in(reason) == code
