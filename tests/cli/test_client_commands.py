"""The client's commands against a real node with the real embedded models."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click.testing
import pytest

from scripts.lm_training.texts import is_decline
from tests.cli.conftest import Invoke
from tests.e2e.client import Client
from tests.support.process import clean_environment, dispatchd

LLM = ("submit", "llm", "What is a blockchain?", "--max-tokens", "24")
TASK = ("submit", "task", "classify", "This product is amazing.")
NOWHERE = {"COORDINATOR_URL": "http://127.0.0.1:1"}

Typed = Callable[..., click.testing.Result]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("node")
    arguments = ("run", "--testnet", "--port", "0", "--data-dir", str(folder / "data"))
    with dispatchd(*arguments, home=folder) as node:
        yield node.url()


@pytest.fixture
def typed(invoke: Invoke, url: str) -> Typed:
    """A command that must end well."""

    def run(*arguments: str) -> click.testing.Result:
        result = invoke(*arguments, COORDINATOR_URL=url)
        assert result.exit_code == 0, result.output
        return result

    return run


def piped(url: str, *arguments: str, given: str) -> subprocess.CompletedProcess[str]:
    """A command with something on stdin."""
    return subprocess.run(
        [sys.executable, "-m", "dispatchd", *arguments],
        env=clean_environment(Path.home(), DISPATCHD_COORDINATOR=url),
        input=given,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_quote(typed: Typed) -> None:
    quoted = json.loads(typed("quote", "llm", "--policy", "cheap", "--json").stdout)
    assert (quoted["price"], quoted["endpoint"]) == ("$0.005", "/v1/jobs/commit/cheap")
    assert "$0.001" in typed("quote", "task").stdout


def test_submit_llm(typed: Typed, url: str) -> None:
    plain = typed(*LLM)
    job = json.loads(typed(*LLM, "--json").stdout)
    assert plain.stdout == job["result"]["text"] + "\n"
    assert "$0.010" in plain.stderr
    assert job == Client(url).job(job["id"])


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("What is a blockchain?", "A blockchain is a shared record of transactions"),
        ("Explain quantum computing in simple terms.", "Quantum computing is a way of computing"),
        ("What is x402?", "x402 is a protocol for paying over HTTP."),
        ("What is the capital of France?", "The capital of France is Paris."),
    ],
)
def test_the_embedded_model_answers_what_it_knows(typed: Typed, prompt: str, answer: str) -> None:
    assert typed("submit", "llm", prompt).stdout.startswith(answer)


@pytest.mark.parametrize("prompt", ["Who was Cleopatra?", "Write a story about two dragons."])
def test_the_embedded_model_says_that_it_does_not_know(typed: Typed, prompt: str) -> None:
    job = json.loads(typed("submit", "llm", prompt, "--json").stdout)
    assert is_decline(job["result"]["text"])
    assert job["result"]["finish_reason"] == "stop"


def test_submit_task(typed: Typed) -> None:
    assert json.loads(typed(*TASK).stdout)["sentiment"] == "positive"
    assert json.loads(typed(*TASK, "--json").stdout)["result"]["sentiment"] == "positive"


def test_texts_come_from_stdin_and_files(typed: Typed, url: str, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text('Here: {"a": 1}\n')
    expected = {"extracted": [{"a": 1}], "count": 1}
    extract = ("submit", "task", "extract_json")
    assert json.loads(typed(*extract, f"@{file}").stdout) == expected
    done = piped(url, *extract, "-", given='Here: {"a": 1}\n')
    assert (json.loads(done.stdout), done.stderr) == (expected, "")
    assert json.loads(typed("submit", "task", "summarize", "@@home").stdout)["summary"] == "@home"


def test_options_of_a_text_reach_the_worker(typed: Typed) -> None:
    drawn = ("--temperature", "0.9", "--seed", "7", "--top-p", "0.9", "--top-k", "40", "--json")
    first, second = (json.loads(typed(*LLM, *drawn).stdout)["result"] for _ in range(2))
    assert first["seed"] == 7
    assert first["text"] == second["text"]
    stopped = typed(*LLM, "--stop", "blockchain", "--system", "Be brief").stdout
    assert "blockchain" not in stopped


LONG = Path(__file__).parents[2].joinpath("ARCHITECTURE.md").read_text()


def test_options_of_a_task_reach_the_worker(typed: Typed) -> None:
    summarize = ("submit", "task", "summarize", LONG)
    lengths = [
        len(json.loads(typed(*summarize, *more).stdout)["summary"])
        for more in ((), ("--max-length", "60"), ("--max-length", "900", "--mode", "extractive"))
    ]
    assert 0 < lengths[1] <= 60 < lengths[0] <= 200 < lengths[2] <= 900


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("summarize", ("--mode", "abstractive")),
        ("extract_json", ("--schema", '{"type": "object"}')),
    ],
)
def test_what_only_a_larger_model_can_do_fails_clearly(
    invoke: Invoke, url: str, kind: str, options: tuple[str, ...]
) -> None:
    done = invoke("submit", "task", kind, "Some text.", *options, "--coordinator", url)
    assert done.exit_code == 1
    assert "no_language_model" in done.stderr


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("classify", ("--max-length", "60"), "--max-length is for summarize"),
        ("summarize", ("--schema", "{}"), "--schema is for extract_json"),
        ("extract_json", ("--schema", "{"), "No JSON"),
        ("extract_json", ("--schema", "[1]"), "It must be a JSON object"),
        ("summarize", ("--max-length", "3"), "--max-length"),
    ],
)
def test_options_of_a_task_are_checked(
    invoke: Invoke, url: str, kind: str, options: tuple[str, ...], said: str
) -> None:
    done = invoke("submit", "task", kind, "Some text.", *options, "--coordinator", url)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_job_can_be_fetched_later(typed: Typed, url: str) -> None:
    job_id = typed(*LLM, "--no-wait").stdout.strip()
    assert typed("job", "wait", job_id).stdout == typed(*LLM).stdout
    text = Client(url).text("GET", f"/v1/jobs/{job_id}")[1]
    assert typed("job", "get", job_id, "--json").stdout == text + "\n"
    shown = typed("job", "get", job_id).stdout
    assert "completed" in shown
    assert "signed by" in shown
    assert typed("job", "watch", job_id).stdout == typed(*LLM).stdout
    watched = typed("job", "watch", job_id, "--json").stdout
    events = [json.loads(line) for line in watched.splitlines()]
    assert events[-1] == {"event": "done", "data": json.loads(text)}
    assert json.loads(typed(*LLM, "--no-wait", "--json").stdout).keys() == {"job_id"}


def test_workers_and_lists(typed: Typed) -> None:
    done = json.loads(typed(*TASK, "--json", "--user-id", "lister").stdout)
    key = done["receipt"]["provider_pubkey"]
    assert key in typed("workers").stdout
    assert json.loads(typed("workers", "--json").stdout)["workers"][0]["provider_pubkey"] == key
    everybody = typed("workers", "--all", "--limit", "1")
    assert key in everybody.stdout
    following = everybody.stderr.split("--after ")[1].strip()
    assert key not in typed("workers", "--all", "--after", following).stdout
    filters = ("job", "list", "--user-id", "lister", "--status", "completed")
    assert done["id"] in typed(*filters).stdout
    (found,) = json.loads(typed(*filters, "--json").stdout)["jobs"]
    assert (found["id"], found["user_id"]) == (done["id"], "lister")
    page = typed("job", "list", "--limit", "1")
    assert len(page.stdout.splitlines()) == 2
    following = page.stderr.split("--after ")[1].strip()
    assert typed("job", "list", "--limit", "1", "--after", following).stdout != page.stdout


def test_trust(typed: Typed, invoke: Invoke, url: str) -> None:
    created = typed("trust", "create", "alice")
    code = created.stdout.split()[1]
    assert f"--trust-code {code}" in created.stderr
    key = "AB" * 32
    assert json.loads(typed("trust", "claim", code, key, "--json").stdout)["user_id"] == "alice"
    assert key.lower() in typed("trust", "list", "alice").stdout
    again = invoke("trust", "claim", code, key, "--coordinator", url)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "already_claimed" in again.stderr


def test_receipts(typed: Typed, invoke: Invoke, url: str, tmp_path: Path) -> None:
    job_text = typed(*TASK, "--json").stdout
    job = json.loads(job_text)
    shown = typed("receipt", "show", job["id"], "--json").stdout
    assert json.loads(shown) == job["receipt"]
    assert job["receipt"]["signature"] in typed("receipt", "show", job["id"]).stdout
    assert "true" in typed("receipt", "verify", job["id"]).stdout

    file = tmp_path / "job.json"
    file.write_text(job_text)
    key = job["receipt"]["provider_pubkey"]
    offline = invoke("receipt", "verify", f"@{file}", "--json", "--key", key, **NOWHERE)
    assert json.loads(offline.stdout)["verified"] is True
    assert piped("http://127.0.0.1:1", "receipt", "verify", "-", given=job_text).returncode == 0

    file.write_text(job_text.replace("positive", "negative"))
    for arguments in ((f"@{file}",), (job["id"], "--key", "0" * 64)):
        forged = invoke("receipt", "verify", *arguments, COORDINATOR_URL=url)
        assert (forged.exit_code, forged.stdout) == (5, "")
        assert "does not" in forged.stderr or "not that of" in forged.stderr


def test_a_batch(typed: Typed, invoke: Invoke, url: str, tmp_path: Path) -> None:
    lines = [
        {"prompt": "Hi", "max_tokens": 8},
        {"task_type": "classify", "input": "It broke at once. Terrible."},
        {
            "job_type": "TASK",
            "user_id": "bob",
            "payload": {"job_type": "TASK", "task_type": "summarize", "input": "Short."},
        },
    ]
    file = tmp_path / "jobs.jsonl"
    file.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    done = typed("submit", "--batch", str(file), "--user-id", "batcher")
    llm, classified, summary = map(json.loads, done.stdout.splitlines())
    assert llm["result"]["text"]
    assert classified["result"]["sentiment"] == "negative"
    assert summary["result"] == {"summary": "Short.", "word_count": 1}
    assert done.stderr == "3 completed, 0 failed\n"
    assert len(json.loads(typed("job", "list", "--user-id", "bob", "--json").stdout)["jobs"]) == 1

    file.write_text('{"task_type": "dance", "input": "x"}\n' + json.dumps(lines[1]))
    partly = invoke("submit", "--batch", str(file), COORDINATOR_URL=url)
    assert partly.exit_code == 1
    refused, well = map(json.loads, partly.stdout.splitlines())
    assert refused["status"] == "failed"
    assert "task_type" in refused["result"]["error"]
    assert well["status"] == "completed"


def test_models_list_in_json(typed: Typed) -> None:
    models = json.loads(typed("models", "list", "--json").stdout)["models"]
    assert [model["name"] for model in models if model["default"]] == ["demo-chat"]


def test_explain_and_cancel(typed: Typed, invoke: Invoke, url: str, tmp_path: Path) -> None:
    arguments = ("run", "--testnet", "--no-worker", "--port", "0")
    with dispatchd(*arguments, "--data-dir", str(tmp_path / "data"), home=tmp_path) as node:
        here = {"COORDINATOR_URL": node.url()}
        job_id = invoke(*TASK, "--no-wait", **here).stdout.strip()
        explained = invoke("job", "explain", job_id, **here)
        assert "cannot run now" in explained.stdout
        assert "dispatchd worker" in explained.stderr
        found = json.loads(invoke("job", "explain", job_id, "--json", **here).stdout)
        assert (found["status"], found["workers"]) == ("pending", [])
        assert "Nobody" in invoke("workers", **here).stderr

        assert invoke("job", "cancel", job_id, **here).stdout == "cancelled\n"
        waited = invoke("job", "wait", job_id, **here)
        assert (waited.exit_code, waited.stdout) == (1, "")
        assert "cancelled" in waited.stderr
        assert json.loads(invoke("job", "wait", job_id, "--json", **here).stdout)["id"] == job_id
        assert invoke("job", "watch", job_id, **here).exit_code == 1
        receipt = invoke("receipt", "show", job_id, **here)
        assert (receipt.exit_code, receipt.stdout) == (5, "")
    done = json.loads(typed(*TASK, "--json").stdout)
    late = invoke("job", "cancel", done["id"], COORDINATOR_URL=url)
    assert (late.exit_code, late.stdout) == (1, "")
