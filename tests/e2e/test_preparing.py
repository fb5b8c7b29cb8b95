"""A node whose model is still being prepared: it answers, queues, stops, dies and comes back.

Preparing is held up as another dispatchd at the same work would, by the lock on it.
"""

import shutil
import signal
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from dispatchd.engine.catalog import find
from dispatchd.engine.library import Library
from dispatchd.engine.prepare.manifest import Precision, read_manifest, verify
from tests.e2e.client import LLM, TASK, Client
from tests.support.hub import Repo, fake_hub
from tests.support.machines import Machines
from tests.support.process import dispatchd, ended
from tests.support.published import published

pytestmark = pytest.mark.long

REPO, NAME = "someone/Tiny-Chat", "Tiny-Chat"
READY = f"{NAME} on cpu is ready"
SUMMARY = TASK | {"task_type": "summarize", "mode": "abstractive"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / NAME
    folder.mkdir()
    for name, content in published().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def library(tmp_path: Path, data: str = "node") -> Library:
    return Library(tmp_path / data / "models")


def copy_of(library: Library, weights: Path, precision: Precision = "int8") -> Path:
    return library.copies.place(find(str(weights)), precision)


def held_up(library: Library, weights: Path) -> AbstractContextManager[None]:
    """Nobody else prepares these weights meanwhile."""
    return library.locked(library.copies.stem(copy_of(library, weights)))


def models(tmp_path: Path, *arguments: str, **variables: str) -> "CompletedProcess[str]":
    folder = ("--data-dir", str(tmp_path / "node"))
    return ended("models", *arguments, *folder, home=tmp_path / "home", **variables)


def damage(folder: Path) -> None:
    data = bytearray((folder / "graph.onnx.data").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "graph.onnx.data").write_bytes(data)


def test_jobs_queue_and_tasks_run_while_the_model_is_prepared(
    machines: Machines, tmp_path: Path, weights: Path
) -> None:
    with ExitStack() as running:
        node = running.enter_context(machines.run("--model", str(weights)))
        with held_up(library(tmp_path), weights):
            client = Client(node.url())
            client.workers(1)
            waiting = [client.commit(LLM) for _ in range(3)]
            client.until(client.commit(TASK), "completed")
            assert client.json("GET", "/v1/health")[1]["status"] == "ok"
            assert [one["id"] for one in client.json("GET", "/v1/models")[1]["data"]] == [NAME]
            _, why = client.json("GET", f"/v1/jobs/{waiting[0]}/explain")
            assert (why["status"], why["verdict"]) == ("pending", "cannot run now")
            assert [worker["excluded_by"] for worker in why["workers"]] == ["preparing"]
            assert f"{NAME} (being prepared)" in node.out.text
            node.err.wait_for("waiting")
            assert {client.job(job_id)["status"] for job_id in waiting} == {"pending"}
            assert READY not in node.out.text
        for job_id in waiting:
            assert client.until(job_id, "completed")["result"]["model"] == NAME
        node.out.wait_for(READY)
        assert node.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_node_that_prepares(
    machines: Machines, tmp_path: Path, weights: Path, number: signal.Signals
) -> None:
    with held_up(library(tmp_path), weights), machines.run("--model", str(weights)) as node:
        client = Client(node.url())
        job_id = client.commit(LLM)
        node.err.wait_for("waiting")
        assert node.stop(number) == 0
        node.close()
        assert "Traceback" not in node.err.text
    with machines.run("--model", str(weights)) as node:
        Client(node.url()).until(job_id, "completed")


def test_a_signal_ends_a_task_that_waits_for_the_model(
    machines: Machines, tmp_path: Path, weights: Path
) -> None:
    """Its place asks for no other job from a seat that has been left."""
    options = ("--model", str(weights), "--grace", "0.1")
    with held_up(library(tmp_path), weights), machines.run(*options) as node:
        client = Client(node.url())
        job_id = client.commit(SUMMARY)
        client.until(job_id, "assigned")
        node.err.wait_for("waiting")
        assert node.stop() == 0
        node.close()
        assert "Traceback" not in node.err.text
    with machines.run(*options) as node:
        assert Client(node.url()).until(job_id, "completed")["result"]["model"] == NAME


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs program: strace")
def test_a_node_killed_as_it_prepares_leaves_nothing_that_counts_as_whole(
    tmp_path: Path, weights: Path
) -> None:
    kept = library(tmp_path)
    copy = copy_of(kept, weights)
    half = copy.with_name(f".{copy.name}.new")
    arguments = ("run", "--testnet", "--port", "0", "--data-dir", str(tmp_path / "node"))
    # Killed at the last moment: as what has been made would take its place.
    killing = ("-e", "trace=rename", "-e", "inject=rename:signal=SIGKILL:when=1")
    under = ("strace", "-D", "-f", "-qq", "-P", str(half), *killing, "-o", "/dev/null")
    more = ("--model", str(weights))
    with dispatchd(*arguments, *more, home=tmp_path / "home", under=under) as node:
        job_id = Client(node.url()).commit(LLM)
        assert node.popen.wait(60) != 0
    assert half.is_dir()
    assert not copy.exists()
    with dispatchd(*arguments, *more, home=tmp_path / "home") as node:
        Client(node.url()).until(job_id, "completed")
    verify(copy, read_manifest(copy))
    assert not half.exists()


def test_a_damaged_model_ends_the_node_and_is_prepared_again(
    machines: Machines, tmp_path: Path
) -> None:
    with fake_hub() as hub:
        hub.repos[REPO] = Repo(published())
        done = models(tmp_path, "pull", REPO, "--name", "tiny", HF_ENDPOINT=hub.url)
        assert done.returncode == 0, done.stderr
    folder = library(tmp_path).folder("tiny")
    damage(folder)
    with machines.run("--model", "tiny") as node:
        client = Client(node.url())
        job_id = client.commit(LLM)
        assert node.popen.wait(60) == 2
        node.close()
    sentence = node.err.text.splitlines()[-1]
    assert sentence.startswith(f"dispatchd: {folder / 'graph.onnx.data'} has changed")
    assert "dispatchd models prepare tiny" in sentence
    assert "Traceback" not in node.err.text
    assert models(tmp_path, "prepare", "tiny").returncode == 0
    with machines.run("--model", "tiny") as node:
        Client(node.url()).until(job_id, "completed")


def test_weights_that_are_damaged_end_the_node(
    machines: Machines, tmp_path: Path, weights: Path
) -> None:
    whole = (weights / "model.safetensors").read_bytes()
    damaged = whole[:-100] + b"\xff" * 100  # numbers that are none
    (weights / "model.safetensors").write_bytes(damaged)
    with machines.run("--model", str(weights), "--grace", "3600") as node:
        with held_up(library(tmp_path), weights):
            client = Client(node.url())
            job_id = client.commit(SUMMARY)
            client.until(job_id, "assigned")  # what waits for the model alone holds nothing up
        assert node.popen.wait(60) == 2
        node.close()
    assert "not finite" in node.err.text.splitlines()[-1]
    assert "Traceback" not in node.err.text
    left = library(tmp_path).copies.home.iterdir()
    assert [path for path in left if path.is_dir()] == []
    (weights / "model.safetensors").write_bytes(whole)
    with machines.run("--model", str(weights)) as node:
        Client(node.url()).until(job_id, "completed")


def test_a_model_in_use_is_not_removed(machines: Machines, tmp_path: Path, weights: Path) -> None:
    assert models(tmp_path, "prepare", str(weights), "--name", "tiny").returncode == 0
    for wanted, name in (("tiny", "tiny"), (str(weights), NAME)):
        with machines.run("--model", wanted) as node:
            client = Client(node.url())
            client.until(client.commit(LLM), "completed")
            refused = models(tmp_path, "rm", name)
            assert (refused.returncode, refused.stdout) == (2, "")
            assert f"{name} is in use by a running dispatchd" in refused.stderr
            client.until(client.commit(LLM), "completed")
            assert node.stop() == 0
        assert (f"rm {name}" in models(tmp_path, "list").stderr) is (name == NAME)
        assert models(tmp_path, "rm", name).returncode == 0
        assert models(tmp_path, "rm", name).returncode == 2
    assert weights.is_dir()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int4"])
def test_the_operator_chooses_the_precision(
    machines: Machines, weights: Path, precision: str
) -> None:
    with machines.run("--model", str(weights), "--precision", precision) as node:
        client = Client(node.url())
        done = client.until(client.commit(LLM), "completed")
        assert done["result"]["determinism"]["precision"] == precision


def test_a_far_worker_comes_once_its_model_is_there(
    machines: Machines, tmp_path: Path, weights: Path
) -> None:
    """Jobs are pushed to whoever has registered for them, though others could do them sooner."""
    with machines.coordinator() as node:
        client = Client(node.url())
        with ExitStack() as running:
            with held_up(library(tmp_path, "worker"), weights):
                worker = running.enter_context(machines.worker(node.url(), "--model", str(weights)))
                worker.err.wait_for("waiting")
                job_id = client.commit(LLM)
                client.workers(0)
                assert "connected" not in worker.err.text
            client.until(job_id, "completed")
            worker.out.wait_for(READY)
            assert worker.stop() == 0
