"""`dispatchd doctor` as operators run it, on a machine that is well and on one that is not."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatchd.store.sqlite.connection import prepare
from tests.support.disk import newer_version
from tests.support.machines import Machines
from tests.support.postgres import Server
from tests.support.process import dispatchd, free_port
from tests.support.small_model import prepare_small

pytestmark = pytest.mark.long

SECONDS = 60
Found = dict[str, dict[str, Any]]


def examined(home: Path, *arguments: str) -> tuple[int, Found]:
    """The exit code, and what was found by each check."""
    with dispatchd("doctor", "--json", *arguments, home=home) as process:
        code = process.popen.wait(SECONDS)
        process.out.search("}\n")
        said = json.loads(process.out.text)
        assert process.err.text == ""
    found = {each["check"]: each for each in said["checks"]}
    assert len(found) == len(said["checks"])
    assert said["failures"] == sum(each["state"] == "failure" for each in found.values())
    for each in found.values():
        assert each["sentence"]
        assert each["remedy"] or each["state"] != "failure", each
    return code, found


def test_a_machine_on_which_nothing_has_run_yet(tmp_path: Path) -> None:
    code, found = examined(tmp_path, "--port", "0", "--network", "monad", "--network", "solana")
    assert (code, [each for each in found.values() if each["state"] == "failure"]) == (0, [])
    assert {"python", "processor", "gpu", "disk", "data folder", "model", "job"} <= found.keys()
    assert {"database monad", "database solana", "port monad", "port solana"} <= found.keys()
    assert "receipt that holds" in found["job"]["sentence"]
    assert "sha256" in found["model demo-chat"]["sentence"]
    assert not (tmp_path / ".local").exists(), "the doctor has left something behind"


def test_beside_a_node_that_sells_its_jobs(tmp_path: Path) -> None:
    port = str(free_port())
    data = ("--data-dir", str(tmp_path / "node"))
    with Machines(tmp_path).run("--payments", "simulated", "--port", port) as node:
        url = node.url()
        code, found = examined(tmp_path / "home", *data, "--port", port, "--coordinator", url)
    assert code == 0, found
    assert found["job"]["state"] == "warning"
    assert "play money" in found["payments"]["sentence"]
    assert "eip155:10143" in found["port monad"]["sentence"]
    assert "whole" in found["database monad"]["sentence"]
    assert found["clock"]["state"] == "ok"
    assert "1 workers are online" in found["coordinator"]["sentence"]


def test_a_database_that_coordinators_share(tmp_path: Path, postgres: Server) -> None:
    """The job is done at a node of the doctor's own, with a file of its own."""
    secret = "s3cr3t"
    for store, state in ((postgres.database(), "ok"), (f"postgresql://a:{secret}@[", "failure")):
        code, found = examined(tmp_path, "--port", "0", "--store", store)
        stores = {name: each for name, each in found.items() if name.startswith("store monad")}
        assert {each["state"] for each in stores.values()} == {state}
        assert (len(stores), code, found["job"]["state"]) == (5, int(state == "failure"), "ok")
        assert secret not in json.dumps(found)


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Found, int]]:
    """What is found where much is wrong at once, and the port that is taken."""
    folder = tmp_path_factory.mktemp("ill")
    data = folder / "data"
    data.mkdir(mode=0o700)
    (data / "own-worker-key.json").write_text("{}")
    (data / "own-worker-key.json").chmod(0o644)
    (data / "worker-key.json").write_text("{}")
    (data / "worker-key.json").chmod(0o600)
    prepare(data / "monad.sqlite3")
    changed = prepare_small(data / "models") / "graph.onnx.data"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\xff")
    unreachable = f"http://127.0.0.1:{free_port()}"
    with socket.create_server(("127.0.0.1", 0)) as taken, newer_version(data / "monad.sqlite3"):
        port = taken.getsockname()[1]
        options = ("--data-dir", str(data), "--port", str(port), "--model", "no-such-model")
        yield *examined(folder / "home", *options, "--coordinator", unreachable), port


WRONG = {
    "key own-worker-key.json": ("can read", "chmod 600"),
    "key worker-key.json": ("no key", "copy"),
    "database monad": ("version 99", "Update dispatchd"),
    "model": ("no-such-model", "models list"),
    "model small": ("has changed since it was prepared", "dispatchd models prepare"),
    "coordinator": ("127.0.0.1", "dispatchd run"),
    "clock": ("tell the time", "answer"),
    "job": ("did not get there", "answer"),
    "payments": ("did not get there", "answer"),
    "port monad": ("cannot be had", "--port"),
}


@pytest.mark.parametrize("check", WRONG)
def test_what_is_wrong_is_found_and_has_a_remedy(ill: tuple[int, Found, int], check: str) -> None:
    _, found, _ = ill
    finding = found[check]
    said, remedy = WRONG[check]
    assert finding["state"] == "failure", finding
    assert said in finding["sentence"]
    assert remedy in finding["remedy"]


def test_the_rest_is_none_the_worse_and_the_exit_code_says_it(ill: tuple[int, Found, int]) -> None:
    code, found, port = ill
    assert code == 1
    assert {name for name, each in found.items() if each["state"] == "failure"} == WRONG.keys()
    assert f"(process {os.getpid()})" in found["port monad"]["sentence"]
    assert str(port) in found["port monad"]["sentence"]


def test_for_people_each_finding_is_a_line_and_a_remedy_below_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    arguments = ("--data-dir", str(tmp_path / "file" / "data"), "--port", "0")
    with dispatchd("doctor", *arguments, home=tmp_path / "home") as process:
        assert process.popen.wait(SECONDS) == 1
        process.out.search(r"\njob\b")
        lines = process.out.text.splitlines()
        assert process.err.text == ""
    (place,) = [number for number, line in enumerate(lines) if "data folder" in line[:24]]
    assert lines[place].startswith("failure")
    assert lines[place + 1].strip().startswith("→ Choose another folder with --data-dir")
    assert any(line.startswith("ok") and " python " in line for line in lines)


def test_options_that_mean_nothing_are_one_sentence(tmp_path: Path) -> None:
    with dispatchd("doctor", "--network", "moon", home=tmp_path) as process:
        assert process.popen.wait(SECONDS) == 2
        process.err.wait_for("moon")
        assert "Traceback" not in process.err.text
