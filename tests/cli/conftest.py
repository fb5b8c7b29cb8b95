"""The command line in this process, for what is decided before a node starts."""

import importlib
from collections.abc import Callable
from typing import Any

import click.testing
import pytest

from dispatchd.cli import main
from dispatchd.config.options import RUN_OPTIONS, WORKER_OPTIONS

Invoke = Callable[..., click.testing.Result]


class Started:
    """What the command line would have started a node or a worker with."""

    def __init__(self) -> None:
        self.config: Any = None
        self.logs: tuple[str, str] | None = None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Nothing starts; what would have been started is kept here."""
    kept = Started()

    def keep_config(config: object, *_: object) -> None:
        kept.config = config

    def keep_logs(level: str, form: str) -> None:
        kept.logs = level, form

    for name, entry in (("run", "run_node"), ("worker", "run_worker")):
        module = importlib.import_module(f"dispatchd.cli.{name}")
        monkeypatch.setattr(module, entry, keep_config)
        monkeypatch.setattr(module, "run_until_stopped", lambda start: start(None))
        monkeypatch.setattr(module, "log_to_stderr", keep_logs)
    return kept


@pytest.fixture
def invoke(started: Started, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs a command line under an environment that holds these variables alone."""
    for option in (*RUN_OPTIONS, *WORKER_OPTIONS):
        for variable in option.variables:
            monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str, **variables: str) -> click.testing.Result:
        runner = click.testing.CliRunner()
        return runner.invoke(main, arguments, env=variables, prog_name="dispatchd")

    return run
