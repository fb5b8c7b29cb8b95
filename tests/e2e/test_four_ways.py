"""curl and the SDK against real nodes with the embedded model, the worker near or far.

The third way, OpenAI's client, has tests/openai; the fourth, the command line, tests/cli.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from dispatchd import ComputeRouter
from dispatchd.sdk.hosted import HostedAccounts
from tests.e2e.client import LLM, TASK, USER, Client
from tests.support.machines import Place, network

EVENT = re.compile(r"id: (?P<id>\d+-\d+)\nevent: (?P<name>\w+)\ndata: (?P<data>.*)\n\n")
LONG = LLM | {"max_tokens": 100_000, "ignore_eos": True}

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs program: curl")


@pytest.fixture(scope="module", params=Place)
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    with network(request.param, tmp_path_factory.mktemp("network")) as url:
        yield Client(url)


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "-sSN", "--max-time", "20", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = EVENT.findall(text)
    assert "".join(f"id: {i}\nevent: {n}\ndata: {d}\n\n" for i, n, d in found) == text
    return [(name, json.loads(data)) for _, name, data in found]


@needs_curl
def test_a_curl_session_of_events(client: Client) -> None:
    url = f"{client.url}/v1/jobs/{client.commit(LLM)}/events"
    live, late = events(curl(url)), events(curl(url))
    for heard in (live, late):
        name, job = heard[-1]
        assert (name, job["status"]) == ("done", "completed")
        text = "".join(data["delta"] for name, data in heard if name == "delta")
        assert text == job["result"]["text"] != ""
    assert live[-1] == late[-1]
    read = len(live[-1][1]["result"]["text"]) // 2
    (name, rest), *_ = events(curl(url, "-H", f"Last-Event-ID: 1-{read}"))
    assert (name, rest["delta"]) == ("delta", live[-1][1]["result"]["text"][read:])


@needs_curl
def test_curl_waits_and_cancels(client: Client) -> None:
    done = json.loads(curl(f"{client.url}/v1/jobs/{client.commit(TASK)}?wait=20"))
    assert done["status"] == "completed"
    running = client.commit(LONG)
    waiting = client.commit(LONG)
    client.until(running, "running")
    for job_id in (running, waiting):
        job = json.loads(curl("-X", "DELETE", f"{client.url}/v1/jobs/{job_id}"))
        assert (job["status"], job["result"]["error"]) == ("failed", "cancelled")
    client.until(client.commit(LLM), "completed")  # there is but one place, and it is free


def test_the_sdk(client: Client) -> None:
    with ComputeRouter.sync({"monad": client.url}, hosted=HostedAccounts()) as router:
        task = router.run_task("classify", "This product is amazing.", user_id=USER)
        llm = router.run_llm("What is a blockchain?", 24, USER)
        stream = router.stream_llm("What is a blockchain?", 24, USER)
        assert "".join(stream) == llm.output["text"] == stream.result.output["text"]
        assert (task.output["sentiment"], task.route) == ("positive", "decentralized:monad")
        keys = {router.verify(each).provider_pubkey for each in (task, llm, stream.result)}
        assert len(keys) == 1
