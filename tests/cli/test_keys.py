"""API keys on the command line and in the SDK, against real nodes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatchd import ComputeRouter
from dispatchd.sdk.errors import InvalidRequest, Unauthorized
from tests.cli.conftest import Invoke
from tests.support.process import Process, clean_environment, dispatchd

HEX = "ab" * 32


def run(url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command as it is typed, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "dispatchd", *arguments],
        env=clean_environment(Path.home(), DISPATCHD_COORDINATOR=url, **variables),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def made(result: Any) -> str:
    return str(json.loads(result.stdout)["api_key"])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("node")
    arguments = ("run", "--testnet", "--port", "0", "--data-dir", str(folder / "data"))
    with dispatchd(*arguments, home=folder) as node:
        node.out.wait_for("is ready")
        yield node


def test_a_users_key_opens_what_it_closed(node: Process, invoke: Invoke) -> None:
    url = node.url()
    private = ("submit", "task", "classify", "Fine.", "--user-id", "ann", "--private")
    key = made(invoke("keys", "create", "ann", "--json", COORDINATOR_URL=url))
    refused = invoke("trust", "list", "ann", COORDINATOR_URL=url)
    assert refused.exit_code == 2
    assert "API key" in refused.stderr
    assert invoke("trust", "list", "ann", "--api-key", key, COORDINATOR_URL=url).exit_code == 0
    own = {"COORDINATOR_URL": url, "DISPATCHD_API_KEY": key}
    code = json.loads(invoke("trust", "create", "ann", "--json", **own).stdout)["pairing_code"]
    assert invoke("trust", "claim", code, HEX, **own).exit_code == 0
    assert HEX in invoke("trust", "list", "ann", **own).stdout
    assert invoke(*private, **own).exit_code == 1  # that worker is not online
    assert invoke(*private, COORDINATOR_URL=url).exit_code == 2
    assert invoke("trust", "remove", "ann", HEX, **own).exit_code == 0
    assert HEX not in invoke("trust", "list", "ann", **own).stdout
    assert invoke("trust", "remove", "ann", HEX, **own).exit_code == 2
    again = invoke("keys", "create", "ann", COORDINATOR_URL=url)
    assert (again.exit_code, again.stdout) == (1, "")
    fresh = made(invoke("keys", "create", "ann", "--json", **own))
    assert fresh != key
    assert invoke("trust", "list", "ann", **own).exit_code == 2
    for secret in (key, fresh):
        assert secret not in node.err.text + node.out.text


def test_the_sdk_shows_the_key_to_its_coordinator(
    node: Process, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = node.url()
    key = made(invoke("keys", "create", "sam", "--json", COORDINATOR_URL=url))
    for api_key in (key, {"monad": key}):
        with ComputeRouter.sync({"monad": url}, api_key=api_key) as router:
            assert router.run_task("classify", "Fine.", user_id="sam").output
    for api_key in ("", {}, {"solana": key}, "wrong"):
        with (
            ComputeRouter.sync({"monad": url}, api_key=api_key) as router,
            pytest.raises(Unauthorized),
        ):
            router.run_task("classify", "Fine.", user_id="sam")
    monkeypatch.setenv("DISPATCHD_API_KEY", key)
    with ComputeRouter.sync({"monad": url}) as router:
        assert router.run_task("classify", "Fine.", user_id="sam").output


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_is_none_is_refused_and_not_repeated(key: str, invoke: Invoke) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ComputeRouter({"monad": "http://127.0.0.1:1"}, api_key=key)
    assert key not in str(refused.value)
    result = invoke("job", "list", "--api-key", key, COORDINATOR_URL="http://127.0.0.1:1")
    assert result.exit_code == 2
    assert key not in result.output


def test_a_node_that_requires_keys(tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = ("run", "--testnet", "--port", "0", "--host", "0.0.0.0", "--no-worker")
    with dispatchd(*arguments, "--require-keys", "--data-dir", str(data), home=tmp_path) as node:
        url = node.url()
        node.out.wait_for("Join from elsewhere")
        assert "WARNING" not in node.out.text
        assert "jobs need an API key" in node.out.text
        assert run(url, "job", "list").returncode == 2
        assert run(url, "keys", "create", "ann").returncode == 2
        file = str(data / "monad-coordinator-key.json")
        key = made(run(url, "keys", "create", "ann", "--operator-key", file, "--json"))
        assert run(url, "job", "list", DISPATCHD_API_KEY=key).returncode == 0
        assert run(url, "keys", "create", "ann", "--operator-key", file).returncode == 1
        missing = run(url, "keys", "create", "bob", "--operator-key", str(data / "none"))
        assert missing.returncode == 2
        assert "No such file" in missing.stderr


def test_an_open_node_says_what_is_open(tmp_path: Path) -> None:
    arguments = ("run", "--testnet", "--port", "0", "--host", "0.0.0.0", "--no-worker")
    with dispatchd(*arguments, home=tmp_path) as node:
        node.out.wait_for("Join from elsewhere")
        for said in ("WARNING", "has no API key", "--require-keys"):
            assert said in node.out.text
