"""What the command line says about itself."""

import pytest

from dispatchd import __version__
from dispatchd.config.options import RUN_OPTIONS, WORKER_OPTIONS, Option
from tests.cli.conftest import Invoke

PROMISED = {
    "run": (
        *("--testnet", "--host", "--port", "--data-dir", "--network", "--no-worker", "--slots"),
        "--model",
    ),
    "worker": (
        *("--coordinator", "--key", "--capability", "--provider-type", "--trust-code", "--slots"),
        *("--model", "--data-dir"),
    ),
}


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_the_commands(invoke: Invoke, flag: str) -> None:
    shown = invoke(flag)
    assert shown.exit_code == 0
    assert {"run", "worker", "models"} <= set(shown.stdout.split())
    assert shown.stderr == ""


@pytest.mark.parametrize(("command", "options"), [("run", RUN_OPTIONS), ("worker", WORKER_OPTIONS)])
def test_help_names_every_flag_and_its_variables(
    invoke: Invoke, command: str, options: tuple[Option, ...]
) -> None:
    shown = invoke(command, "--help")
    assert shown.exit_code == 0
    words = set(shown.stdout.replace(",", " ").replace(";", " ").replace("]", " ").split())
    assert set(PROMISED[command]) <= words
    for option in options:
        assert {option.flag, *option.variables} <= words


def test_version(invoke: Invoke) -> None:
    shown = invoke("--version")
    assert (shown.exit_code, shown.stdout.split()[-1]) == (0, __version__)


def test_models_list_shows_the_embedded_models(invoke: Invoke) -> None:
    shown = invoke("models", "list")
    assert shown.exit_code == 0
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert lines.keys() == {"demo-chat", "sentiment", "summarizer"}
    assert "llm" in lines["demo-chat"]
    assert "default" in lines["demo-chat"]
    assert "classifier" in lines["sentiment"]
    assert all("B" in line for line in lines.values())
