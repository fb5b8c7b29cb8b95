"""Coordinator, workers and clients as processes of their own: they meet, die and come back."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import ENDS, LLM, TASK, Client
from tests.support.machines import Machines
from tests.support.process import Process, free_port

LONG_LLM = LLM | {"max_tokens": 400, "ignore_eos": True}
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])

ENDINGS = pytest.mark.parametrize(
    ("number", "grace"), [(signal.SIGTERM, ()), (signal.SIGINT, ("--grace", "0"))]
)


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


@pytest.fixture
def coordinator(machines: Machines) -> Iterator[Client]:
    with machines.coordinator() as process:
        yield Client(process.url())


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def key_of(worker: Process) -> str:
    """The public key that a worker shows when it starts."""
    return worker.out.wait_for("worker ([0-9a-f]{64})")[1]


def assert_stops(process: Process, number: signal.Signals) -> None:
    """A signal ends the process soon, well and without a word about it."""
    code = process.stop(number)
    process.close()
    assert (code, "Traceback" in process.err.text) == (0, False), process.err.text
    assert " ERROR " not in process.err.text


def test_a_worker_process_does_jobs_of_both_types(machines: Machines) -> None:
    with machines.coordinator() as node, machines.worker(node.url()) as worker:
        client = Client(node.url())
        client.workers(1)

        jobs = [client.commit(LLM), client.commit(TASK)]
        ends = [client.until(job_id, "completed") for job_id in jobs]

        assert ends[0]["result"]["text"]
        assert ends[1]["result"]["sentiment"] == "positive"
        assert {job["receipt"]["provider_pubkey"] for job in ends} == {key_of(worker)}


def test_a_worker_may_be_started_before_its_coordinator(machines: Machines) -> None:
    port = free_port()
    with machines.worker(url_of(port)) as worker:
        worker.err.wait_for("not connected to .*; next try in")
        with machines.coordinator("--port", str(port)) as node:
            client = Client(node.url())
            client.until(client.commit(TASK), "completed")


def test_a_worker_takes_only_what_it_said(machines: Machines, coordinator: Client) -> None:
    said = ("--capability", "llm", "--provider-type", "seeker")
    with machines.worker(coordinator.url, *said):
        coordinator.workers(1)
        task = coordinator.commit(TASK)
        coordinator.until(coordinator.commit(LLM), "completed")
        assert coordinator.job(task)["status"] == "pending"

        with machines.worker(coordinator.url, "--capability", "task", data="other") as other:
            done = coordinator.until(task, "completed")
            assert done["receipt"]["provider_pubkey"] == key_of(other)


def test_private_jobs_go_to_a_paired_worker_alone(machines: Machines) -> None:
    with machines.run() as node:
        client = Client(node.url())
        client.workers(1)
        _, pairing = client.json("POST", "/v1/trust/create", {"user_id": "alice"})
        code = pairing["pairing_code"]
        with machines.worker(node.url(), data="stranger"):
            client.workers(2)
            status, refused = client.offer(TASK, "alice", privacy_class="PRIVATE")
            assert (status, refused["error"]) == (422, "no_trusted_worker")
            assert client.job(refused["job_id"])["status"] == "failed"

            with machines.worker(node.url(), "--trust-code", code, data="friend") as friend:
                friend.err.wait_for("paired: user alice")
                client.workers(3)
                for payload in (TASK, LLM):
                    job_id = client.commit(payload, "alice", privacy_class="PRIVATE")
                    done = client.until(job_id, "completed")
                    assert done["receipt"]["provider_pubkey"] == key_of(friend)
                _, shown = client.json("GET", "/v1/workers")
                assert [worker["proven"] for worker in shown["workers"]] == [True] * 3

                status, _ = client.offer(TASK, "bob", privacy_class="PRIVATE")
                assert status == 422
                _, trusted = client.json("GET", "/v1/trust/list?user_id=alice")
                keys = [provider["provider_pubkey"] for provider in trusted["providers"]]
                assert keys == [key_of(friend)]


def test_workers_prove_their_keys_to_the_public_address(machines: Machines) -> None:
    with machines.coordinator("--public-url", "https://dispatch.example.org") as node:
        node.out.wait_for("dispatchd worker --coordinator https://dispatch.example.org\n")
        with machines.worker(node.url()) as worker:
            worker.err.wait_for("BAD_PROOF")
        assert Client(node.url()).json("GET", "/v1/workers")[1] == {"workers": []}
    port = free_port()
    with machines.coordinator("--port", str(port), "--public-url", url_of(port)) as node:
        client = Client(node.url())
        with machines.worker(node.url()):
            client.workers(1)
            client.until(client.commit(TASK), "completed")
            assert client.json("GET", "/v1/workers")[1]["workers"][0]["proven"]


def test_a_worker_is_trusted_still_after_both_were_restarted(machines: Machines) -> None:
    with machines.coordinator() as node:
        client = Client(node.url())
        _, pairing = client.json("POST", "/v1/trust/create", {"user_id": "alice"})
        code = pairing["pairing_code"]
        with machines.worker(node.url(), "--trust-code", code) as worker:
            worker.err.wait_for("paired: user alice")
            key = key_of(worker)
    with machines.coordinator() as node, machines.worker(node.url()) as worker:
        client = Client(node.url())
        client.workers(1)
        assert key_of(worker) == key
        client.until(client.commit(TASK, "alice", privacy_class="PRIVATE"), "completed")


def test_a_refused_pairing_code_is_said_and_the_worker_works_on(
    machines: Machines, coordinator: Client
) -> None:
    with machines.worker(coordinator.url, "--trust-code", "000000") as worker:
        worker.err.wait_for("pairing code.*invalid_code")
        coordinator.until(coordinator.commit(TASK), "completed")


def test_a_worker_killed_on_a_job_does_it_after_a_restart(
    machines: Machines, coordinator: Client
) -> None:
    with machines.worker(coordinator.url) as worker:
        coordinator.workers(1)
        worker.popen.send_signal(signal.SIGSTOP)
        job_id = coordinator.commit(TASK)
        coordinator.until(job_id, "assigned")
        worker.popen.kill()
        coordinator.workers(0)
        coordinator.until(job_id, "pending")
    with machines.worker(coordinator.url):
        coordinator.until(job_id, "completed")


def test_another_worker_takes_over_from_one_that_was_killed(
    machines: Machines, coordinator: Client
) -> None:
    with machines.worker(coordinator.url, data="first") as first:
        coordinator.workers(1)
        first.popen.send_signal(signal.SIGSTOP)
        job_id = coordinator.commit(LLM)
        coordinator.until(job_id, "assigned")
        with machines.worker(coordinator.url, data="second") as second:
            coordinator.workers(2)
            first.popen.kill()
            done = coordinator.until(job_id, "completed")
            assert done["receipt"]["provider_pubkey"] == key_of(second)


@SIGNALS
def test_a_signal_stops_an_idle_node(machines: Machines, number: signal.Signals) -> None:
    with machines.run() as node:
        client = Client(node.url())
        client.workers(1)
        with client.connected() as connection:
            assert connection.getresponse().status == 200
            assert_stops(node, number)


@SIGNALS
def test_a_signal_stops_a_worker_that_is_connected(
    machines: Machines, coordinator: Client, number: signal.Signals
) -> None:
    with machines.worker(coordinator.url) as worker:
        coordinator.workers(1)
        assert_stops(worker, number)
        coordinator.workers(0)


@SIGNALS
def test_a_signal_stops_a_coordinator_with_workers_and_a_worker_without_coordinator(
    machines: Machines, number: signal.Signals
) -> None:
    with machines.coordinator() as node, machines.worker(node.url()) as worker:
        Client(node.url()).workers(1)
        assert_stops(node, number)
        worker.err.wait_for("not connected to")
        assert_stops(worker, number)


@pytest.mark.long
@ENDINGS
def test_a_node_stopped_amid_its_work_goes_on_with_it(
    machines: Machines, number: signal.Signals, grace: tuple[str, ...]
) -> None:
    with machines.run("--slots", "1", *grace) as node:
        client = Client(node.url())
        jobs = [client.commit(LONG_LLM) for _ in range(12)]
        client.until(jobs[0], "completed")
        assert_stops(node, number)
    with machines.coordinator() as node:
        client = Client(node.url())
        found = {job_id: client.job(job_id)["status"] for job_id in jobs}
        assert found[jobs[0]] == "completed"
        assert "pending" in found.values(), "the node was too quick for this test"
    with machines.run() as node:
        client = Client(node.url())
        for job_id in jobs:
            client.until(job_id, "completed")


@pytest.mark.long
@ENDINGS
def test_a_worker_stopped_amid_its_work_goes_on_with_it(
    machines: Machines, coordinator: Client, number: signal.Signals, grace: tuple[str, ...]
) -> None:
    with machines.worker(coordinator.url, "--slots", "1", *grace) as worker:
        jobs = [coordinator.commit(LONG_LLM) for _ in range(12)]
        coordinator.until(jobs[0], "completed")
        assert_stops(worker, number)
        coordinator.workers(0)
    assert any(coordinator.job(job_id)["status"] not in ENDS for job_id in jobs)
    with machines.worker(coordinator.url):
        for job_id in jobs:
            coordinator.until(job_id, "completed")


def test_a_coordinator_restarted_keeps_jobs_and_workers(machines: Machines) -> None:
    port = free_port()
    same_port = ("--port", str(port))
    client = Client(url_of(port))
    with machines.worker(url_of(port), "--capability", "task") as worker:
        with machines.coordinator(*same_port) as node:
            node.url()
            done = client.commit(TASK)
            client.until(done, "completed")
            seen = client.text("GET", f"/v1/jobs/{done}")
            waiting = client.commit(LLM)
            assert node.stop() == 0
        with machines.coordinator(*same_port) as node:
            node.url()
            assert client.text("GET", f"/v1/jobs/{done}") == seen
            assert client.job(waiting)["status"] == "pending"
            client.until(client.commit(TASK), "completed")
            with machines.worker(node.url(), data="llm"):
                client.until(waiting, "completed")
        assert worker.popen.poll() is None


def test_a_coordinator_killed_forgets_nothing_it_said_yes_to(machines: Machines) -> None:
    with machines.coordinator() as node:
        client = Client(node.url())
        jobs = [client.commit(TASK) for _ in range(20)]
        node.popen.kill()
        node.popen.wait()
    with machines.coordinator() as node:
        client = Client(node.url())
        assert {client.job(job_id)["status"] for job_id in jobs} == {"pending"}


def test_a_worker_makes_its_key_once(machines: Machines, tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        with machines.worker(url_of(free_port())) as worker:
            keys.append(key_of(worker))
    assert keys[0] == keys[1]
    (file,) = (tmp_path / "worker").glob("*.json")
    assert file.stat().st_mode & 0o777 == 0o600
    stored = json.loads(file.read_text())
    assert list(stored) == ["publicKey", "secretKey"]
    assert bytes(stored["publicKey"]).hex() == keys[0]
    assert len(stored["secretKey"]) == 64
    assert re.fullmatch("[0-9a-f]{64}", keys[0])
