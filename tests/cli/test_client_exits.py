"""Exit codes and sentences: each says what to do next."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatchd.sdk import http
from tests.cli.conftest import Invoke
from tests.sdk.foreign_coordinator import ForeignCoordinator, served
from tests.support.process import dispatchd, ended, free_port

TASK = ("submit", "task", "classify", "x")
LLM = ("submit", "llm", "x")


@pytest.fixture
def endless() -> Iterator[ForeignCoordinator]:
    with served(polls_until_done=10**9) as coordinator:
        yield coordinator


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = http.Pace((), (), 20.0, 0.05)
    monkeypatch.setattr("dispatchd.sdk.coordinator.Pace", lambda: quick)


def assert_said(result: object, code: int, *words: str) -> str:
    """One sentence on stderr and nothing on stdout."""
    out, err = getattr(result, "stdout", ""), str(getattr(result, "stderr", ""))
    found = getattr(result, "exit_code", getattr(result, "returncode", None))
    assert (found, out) == (code, ""), err
    assert err.startswith("dispatchd: "), err
    assert err.count("\n") == 1, err
    assert [word for word in words if word not in err] == []
    return err


@pytest.mark.parametrize(
    "arguments",
    [
        TASK,
        LLM,
        (*LLM, "--json"),
        ("quote", "llm"),
        ("workers",),
        ("job", "get", "x"),
        ("job", "wait", "x"),
        ("job", "watch", "x"),
        ("job", "cancel", "x"),
        ("job", "explain", "x"),
        ("job", "list"),
        ("trust", "create", "x"),
        ("trust", "claim", "x", "y"),
        ("trust", "list", "x"),
        ("receipt", "show", "x"),
        ("receipt", "verify", "x"),
    ],
)
def test_no_coordinator(
    invoke: Invoke, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatchd.sdk.follow._PAUSE_SECONDS", 0)
    url = f"http://127.0.0.1:{free_port()}"
    result = invoke(*arguments, "--coordinator", url)
    assert_said(result, 3, url, "Connection refused", "dispatchd run --testnet")


def test_no_coordinator_for_a_batch(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"prompt":"x"}\n' * 3)
    result = invoke("submit", "--batch", str(file), COORDINATOR_URL="http://127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "0 of 3 jobs are done" in result.stderr


def test_the_coordinator_is_the_local_node_unless_one_is_named(invoke: Invoke) -> None:
    shown = invoke("workers", "--help").stdout
    assert "http://127.0.0.1:4010" in shown
    ours, theirs = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    variables = {"DISPATCHD_COORDINATOR": ours, "COORDINATOR_URL": theirs}
    assert ours in invoke("workers", **variables).stderr
    assert theirs in invoke("workers", COORDINATOR_URL=theirs).stderr


def test_what_is_no_coordinator(invoke: Invoke) -> None:
    with served() as other:
        assert_said(invoke("workers", COORDINATOR_URL=other.url), 2, "nothing here")
    assert_said(invoke("workers", COORDINATOR_URL="ftp://x"), 2, "ftp://x", "http://127.0.0.1:4010")


def test_a_job_that_failed(invoke: Invoke) -> None:
    with served(error="no_eligible_worker") as other:
        where = {"COORDINATOR_URL": other.url}
        for arguments in (TASK, LLM):
            assert_said(invoke(*arguments, **where), 1, "no_eligible_worker")
        shown = invoke(*TASK, "--json", **where)
        assert shown.exit_code == 1
        assert json.loads(shown.stdout)["result"] == {"error": "no_eligible_worker"}


def test_a_job_that_is_to_be_paid(invoke: Invoke) -> None:
    with served(asks="$0.010") as other:
        assert_said(invoke(*TASK, COORDINATOR_URL=other.url), 4, "$0.010")


def test_a_receipt_that_does_not_hold(invoke: Invoke) -> None:
    with served(output='{"a":1}', polls_until_done=1) as other:
        where = {"COORDINATOR_URL": other.url}
        job_id = invoke(*TASK, "--no-wait", **where).stdout.strip()
        assert invoke("receipt", "verify", job_id, **where).exit_code == 0
        wrong = invoke("receipt", "verify", job_id, "--key", "0" * 64, **where)
        assert_said(wrong, 5, "receipt")


@pytest.mark.parametrize("arguments", [TASK, LLM, (*LLM, "--json")])
def test_time_runs_out(
    invoke: Invoke, endless: ForeignCoordinator, arguments: tuple[str, ...]
) -> None:
    result = invoke(*arguments, "--timeout", "0.3", COORDINATOR_URL=endless.url)
    (job_id,) = endless.jobs.values()
    next_command = f"dispatchd job wait {job_id} --coordinator {endless.url}"
    assert_said(result, 6, "0.3 s", next_command)
    waited = invoke("job", "wait", job_id, "--timeout", "0.1", COORDINATOR_URL=endless.url)
    assert_said(waited, 6, next_command)


def test_an_interrupted_submit_says_how_to_go_on(
    endless: ForeignCoordinator, tmp_path: Path
) -> None:
    with dispatchd(*LLM, "--coordinator", endless.url, home=tmp_path) as client:
        while not endless.polls:
            assert client.popen.poll() is None, client.err.text
        client.popen.send_signal(signal.SIGINT)
        assert client.popen.wait(10) == 130
        (job_id,) = endless.jobs.values()
        client.err.wait_for(f"dispatchd job wait {job_id} --coordinator {endless.url}")
        assert "Traceback" not in client.err.text
        assert client.out.text == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("submit",), "--batch"),
        (("submit", "llm"), "TEXT"),
        (("submit", "llm", ""), "empty"),
        (("submit", "llm", "@/no/such/file"), "/no/such/file"),
        (("submit", "llm", "x", "--max-tokens", "0"), "--max-tokens"),
        (("submit", "llm", "x", "--timeout", "0"), "--timeout"),
        (("submit", "llm", "x", "--policy", "SLOW"), "--policy"),
        (("submit", "task", "dance", "x"), "dance"),
        (("submit", "--json", "llm", "x"), "behind llm"),
        (("submit", "--batch", "/no/such/file"), "/no/such/file"),
        (("quote", "cake"), "cake"),
        (("job", "get"), "JOB_ID"),
        (("job", "list", "--status", "lost"), "lost"),
        (("receipt", "verify", "@/no/such/file"), "/no/such/file"),
        (("completion", "csh"), "csh"),
    ],
)
def test_usage(invoke: Invoke, arguments: tuple[str, ...], named: str) -> None:
    assert_said(invoke(*arguments), 2, named)


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"prompt": ""}', '{"payload": 1}', '{"job_type":"X"}']
)
def test_a_batch_with_a_bad_line(invoke: Invoke, tmp_path: Path, line: str) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text(f'{{"prompt":"x"}}\n{line}\n')
    assert_said(invoke("submit", "--batch", str(file)), 2, "Line 2")


def test_a_file_that_holds_no_job(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text("[]")
    assert_said(invoke("receipt", "verify", f"@{file}"), 2, "dispatchd job get JOB_ID --json")


def test_a_process_of_its_own_ends_with_the_code(tmp_path: Path) -> None:
    where = ("--coordinator", f"http://127.0.0.1:{free_port()}")
    assert_said(ended("workers", *where, home=tmp_path), 3)
