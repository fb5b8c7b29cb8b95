"""What a person at a terminal sees, and what is loaded for it."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dispatchd.cli import COMMANDS, main
from dispatchd.cli.live import LiveText
from dispatchd.sdk.telling import Telling
from tests.cli.conftest import Invoke
from tests.sdk.foreign_coordinator import served
from tests.support.process import clean_environment, ended

HEAVY = {"onnxruntime", "numpy", "tokenizers", "uvloop", "dispatchd.node", "coincurve", "Crypto"}


def all_commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", one) for sub, one in command.commands.items())


def seen(home: Path, *arguments: str, **variables: str) -> str:
    """What a command shows on a terminal, stderr included."""
    ours, theirs = pty.openpty()
    environment = clean_environment(home, TERM="xterm", **variables)
    command = [sys.executable, "-m", "dispatchd", *arguments]
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    process.wait(10)
    return shown.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side is closed
        return b""


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_every_help_has_an_example(name: str, command: click.Command) -> None:
    text = command.help or ""
    assert f"Example: dispatchd {name.split(maxsplit=1)[0]}" in text
    if name in COMMANDS:
        assert text.partition("\n")[0] == COMMANDS[name][1]


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_json_and_coordinator_are_everywhere(name: str, command: click.Command) -> None:
    options = {flag for parameter in command.params for flag in parameter.opts}
    if not isinstance(command, click.Group) and name not in {"run", "worker", "completion"}:
        assert "--json" in options
        here = name.startswith(("models ", "store "))
        assert "--coordinator" in options or name == "pay" or here


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("job", "list", "--help"), ("submit", "--help"), ("workers",), ("quote", "llm")],
)
def test_the_client_loads_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom dispatchd.cli import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    with served(polls_until_done=1) as other:
        environment = clean_environment(tmp_path, COORDINATOR_URL=other.url)
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout or "nothing here" in done.stderr
    assert HEAVY & set(done.stderr.split()) == set()


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    with served(output='{"text":"a\\u001b[2Jb"}', polls_until_done=1) as other:
        where = {"COORDINATOR_URL": other.url}
        job_id = ended("submit", "llm", "x", "--no-wait", home=tmp_path, **where).stdout.strip()
        get = ("job", "get", job_id)
        assert "\x1b[32mcompleted" in seen(tmp_path, *get, **where)
        assert "\x1b" not in seen(tmp_path, *get, NO_COLOR="1", **where)
        assert "\x1b" not in ended(*get, home=tmp_path, **where).stdout


def test_a_text_cannot_play_with_the_terminal(tmp_path: Path) -> None:
    with served(output='{"text":"a\\u001b[2Jb\\tc\\nd"}', polls_until_done=1) as other:
        where = {"COORDINATOR_URL": other.url}
        shown = seen(tmp_path, "submit", "llm", "x", NO_COLOR="1", **where)
        assert shown.startswith("a\ufffd[2Jb\tc\nd\n")
        plain = ended("submit", "llm", "x", home=tmp_path, **where)
        assert plain.stdout == "a\x1b[2Jb\tc\nd\n"


def test_half_a_surrogate_pair_is_shown_somehow(tmp_path: Path) -> None:
    with served(output='{"text":"\\ud83d"}', polls_until_done=1) as other:
        done = ended("submit", "llm", "x", home=tmp_path, COORDINATOR_URL=other.url)
        assert (done.returncode, done.stdout) == (0, "?\n")
        variables = {"COORDINATOR_URL": other.url, "PYTHONIOENCODING": "ascii"}
        done = ended("submit", "llm", "x", "--json", home=tmp_path, **variables)
        assert json.loads(done.stdout)["result"] == {"text": "\ud83d"}


def test_a_batch_has_a_bar_on_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"prompt":"x"}\n' * 3)
    with served(output="{}", polls_until_done=1) as other:
        shown = seen(tmp_path, "submit", "--batch", str(file), COORDINATOR_URL=other.url)
        assert "100%" in shown
        assert "3 completed" in shown
        quiet = ended("submit", "--batch", str(file), home=tmp_path, COORDINATOR_URL=other.url)
        assert "%" not in quiet.stderr


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --")]
)
def test_completion(invoke: Invoke, shell: str, mark: str) -> None:
    shown = invoke("completion", shell)
    assert shown.exit_code == 0
    assert mark in shown.stdout
    assert "_DISPATCHD_COMPLETE" in shown.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("dispatchd jo", "job"),
        ("dispatchd job ca", "cancel"),
        ("dispatchd submit task cl", "classify"),
        ("dispatchd workers --co", "--coordinator"),
    ],
)
def test_what_completion_completes(tmp_path: Path, words: str, found: str) -> None:
    count = str(len(words.split()) - 1)
    variables = {"_DISPATCHD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
    assert f"plain,{found}\n" in ended(home=tmp_path, **variables).stdout


def test_a_text_that_begins_anew_is_shown_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    telling = Telling()
    with LiveText(telling) as live:
        live.add(telling.add("Hel"))
        telling.again()
        live.add(telling.add("Ho"))
        live.finish({"text": "Hola"})
    shown = capsys.readouterr()
    assert shown.out == "Hel\nHola\n"
    assert "begins anew" in shown.err
