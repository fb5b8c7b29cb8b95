"""A node whose language model is another node's /v1: two processes, HTTP in, receipt out."""

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.client import LLM, Client
from tests.support.machines import Machines, Place
from tests.support.process import free_port

MODEL = "demo-chat"


def events(url: str, job_id: str) -> list[tuple[str, dict[str, object]]]:
    """A job's events until its end."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("GET", f"/v1/jobs/{job_id}/events")
        blocks = connection.getresponse().read().decode().split("\n\n")
    finally:
        connection.close()
    found = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("place", Place)
def test_a_node_puts_another_nodes_model_to_work(tmp_path: Path, place: Place) -> None:
    machines = Machines(tmp_path)
    with machines.run(data="behind") as behind:
        base = ("--backend", "openai", "--base-url", f"{behind.url()}/v1")
        if place is Place.NEAR:
            with machines.run(*base) as node:
                assert f"{MODEL} on {behind.url()}/v1" in node.out.wait_for("models .*")[0]
                check(node.url(), behind.url())
        else:
            with machines.coordinator() as node, machines.worker(node.url(), *base) as worker:
                Client(node.url()).workers(1)
                check(node.url(), behind.url())
                assert worker.stop() == 0


@pytest.mark.parametrize("place", Place)
def test_a_signal_ends_the_wait_for_a_backend(tmp_path: Path, place: Place) -> None:
    machines = Machines(tmp_path)
    base = ("--backend", "openai", "--base-url", f"http://127.0.0.1:{free_port()}/v1")
    started = machines.run(*base) if place is Place.NEAR else machines.worker("127.0.0.1", *base)
    with started as process:
        process.err.wait_for("waiting for the backend")
        assert process.stop() == 0
        process.close()
        assert "Traceback" not in process.err.text


def check(url: str, behind: str) -> None:
    """A job's text, told as it comes, is what the model behind says to the same prompt."""
    client = Client(url)
    job_id = client.commit(LLM)
    told = events(url, job_id)
    job = client.until(job_id, "completed")
    pieces = [str(data["delta"]) for kind, data in told if kind == "delta"]
    assert told[-1][0] == "done"
    assert "".join(pieces) == job["result"]["text"]
    assert job["receipt"]["verified"]
    (worker,) = client.json("GET", "/v1/workers")[1]["workers"]
    assert (worker["models"], worker["device"]) == ([MODEL], "backend")
    there = Client(behind)
    alone = there.until(there.commit(LLM), "completed")["result"]
    del alone["determinism"]  # which is nothing that can be promised of somebody else's server
    assert job["result"] == alone
    assert job["result"]["completion_tokens"] == LLM["max_tokens"]
    assert [model["id"] for model in client.json("GET", "/v1/models")[1]["data"]] == [MODEL]
    too_long = client.commit(LLM | {"prompt": "blockchain " * 2000})
    assert client.until(too_long, "failed")["result"] == {"error": "prompt_too_long"}
