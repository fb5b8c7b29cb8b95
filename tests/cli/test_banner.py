"""What a node that has started says on stdout, and what it leaves to stderr."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dispatchd import __version__
from tests.e2e.client import TASK, Client, until
from tests.support.process import clean_environment, dispatchd, free_port

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) \S+: .*")


def test_the_banner_says_what_runs_where(tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = ("run", "--testnet", "--port", "0", "--host", "0.0.0.0", "--data-dir", str(data))
    with dispatchd(*arguments, "--log-level", "debug", home=tmp_path / "home") as node:
        client = Client(node.url())
        client.until(client.commit(TASK), "completed")
        node.out.wait_for("demo-chat on cpu is ready\n")
        assert node.stop() == 0
    banner = node.out.text
    assert banner.count("\n") < 20
    said = (__version__, client.url, "monad", "eip155:10143", "demo-chat, ")
    assert [words for words in (*said, str(data), "curl", "WARNING") if words not in banner] == []
    logged = node.err.text.splitlines()
    assert logged
    assert [line for line in logged if not LOG_LINE.fullmatch(line)] == []
    assert not any(LOG_LINE.fullmatch(line) for line in banner.splitlines())


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs program: curl")
def test_the_curl_of_the_banner_works(tmp_path: Path) -> None:
    home = tmp_path / "home"

    def typed(command: str) -> dict[str, object]:
        done = subprocess.run(
            ["bash", "-c", command],
            env=clean_environment(home),
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return dict(json.loads(done.stdout))

    with dispatchd("run", "--testnet", "--port", "0", home=home) as node:
        url = node.url()
        found = node.out.wait_for(r"(?s)(curl -X POST .*?\\\n.*?'\{.*?\}')\n\s*(curl \S+JOB_ID)")
        job_id = str(typed(found[1])["job_id"])
        Client(url).until(job_id, "completed")
        assert typed(found[2].replace("JOB_ID", job_id))["status"] == "completed"


def test_a_quiet_node_says_nothing_on_stderr(tmp_path: Path) -> None:
    arguments = ("run", "--testnet", "--port", "0", "--log-level", "warning")
    with dispatchd(*arguments, home=tmp_path) as node:
        client = Client(node.url())
        client.until(client.commit(TASK), "completed")
        assert node.stop() == 0
    assert node.err.text == ""


def test_a_node_started_by_variables_alone(tmp_path: Path) -> None:
    port, database, key = free_port(), tmp_path / "my" / "jobs.db", tmp_path / "keys" / "key.json"
    with dispatchd(
        "run",
        home=tmp_path / "home",
        TESTNET_MODE="true",
        PORT=str(port),
        NETWORK="solana",
        DB_PATH=str(database),
        WORKER_KEY_PATH=str(key),
        DISPATCHD_DATA_DIR=str(tmp_path / "data"),
    ) as node:
        assert node.url() == f"http://127.0.0.1:{port}"
        _, health = Client(node.url()).json("GET", "/v1/health")
        assert health["network"] == "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
    assert {file: file.stat().st_mode & 0o777 for file in (database, key)} == {
        database: 0o600,
        key: 0o600,
    }


def test_a_worker_says_who_it_is_and_for_whom_it_works(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with dispatchd("worker", home=tmp_path, COORDINATOR_URL=url) as worker:
        worker.out.wait_for(re.escape(url))
        assert re.search("[0-9a-f]{64}", worker.out.text)
        worker.err.wait_for("not connected")
        assert worker.stop() == 0
    assert worker.out.text.count("\n") < 20
    assert [line for line in worker.err.text.splitlines() if not LOG_LINE.fullmatch(line)] == []


def test_a_selling_nodes_banner_names_wallets_and_a_command_that_pays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    arguments = ("run", "--testnet", "--payments", "simulated", "--port", "0")
    with dispatchd(*arguments, home=home) as node:
        node.out.wait_for("Join from elsewhere")
        said = node.out.text
        assert "payments are simulated" in said
        assert len(re.findall(r"^\s+\d+  0x[0-9a-fA-F]{40}$", said, re.MULTILINE)) == 10
        (line,) = re.findall(r"^  dispatchd (submit .*)$", said, re.MULTILINE)
        done = subprocess.run(
            [sys.executable, "-m", "dispatchd", *shlex.split(line)],
            env=clean_environment(home),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert done.stdout.startswith("A blockchain is")
    assert "paid $0.010" in done.stderr


def test_a_node_that_sells_for_real_says_to_whom(tmp_path: Path) -> None:
    payee, far = "0x" + "ab" * 20, "http://127.0.0.1:1"
    arguments = ("run", "--port", "0", "--pay-to", payee, "--facilitator", far)
    with dispatchd(*arguments, home=tmp_path / "home") as node:
        said = node.out.wait_for("(?s)jobs are sold.*Join from elsewhere")[0]
        assert payee in said
        assert far in said
        client = Client(node.url())
        problems = until(lambda: client.json("GET", "/v1/health")[1].get("problems"), "degraded")
    assert "facilitator" in problems[0]
