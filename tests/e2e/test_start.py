"""A start: the node answers before it has loaded what runs its models."""

import asyncio
import contextlib
import shutil
import sys
import time
from pathlib import Path

import pytest

from dispatchd import hiring
from dispatchd.cli.run import run
from dispatchd.config.parse import run_config
from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, DEFAULT_SUMMARIZER, ModelCard, find
from dispatchd.node import Running, run_node
from tests.e2e.client import TASK, USER, Client
from tests.support.process import dispatchd, free_port

# What takes long to load and is of no use to a node that only answers.
HEAVY = (
    *("numpy", "onnxruntime", "onnx", "tokenizers", "jinja2", "llguidance", "huggingface_hub"),
    *("asyncpg", "greenlet", "coincurve", "Crypto"),
)
_PAUSE_SECONDS, _TRIES = 0.001, 30_000
TELLING = """
import sys, click
from dispatchd.cli import main

heavy = sys.argv[1].split(",")

def echo(text, plain=click.echo):
    plain(text)
    plain(f"loaded: {[name for name in heavy if name in sys.modules]}")

click.echo = echo
main(sys.argv[2:])
"""


def test_a_node_answers_before_it_loads_what_runs_its_models(tmp_path: Path) -> None:
    program = (sys.executable, "-c", TELLING, ",".join(HEAVY))
    with dispatchd("run", "--testnet", "--port", "0", home=tmp_path, program=program) as node:
        client = Client(node.url())
        at_the_banner = node.out.wait_for(r"loaded: (.*)")[1]
        client.until(client.commit(TASK), "completed")
        node.out.wait_for(r"is ready\nloaded: \['numpy', 'onnxruntime', .*'tokenizers'")
        assert node.stop() == 0
    assert at_the_banner == "[]"


@pytest.mark.parametrize("name", [DEFAULT_CLASSIFIER, DEFAULT_SUMMARIZER])
async def test_a_broken_model_of_tasks_ends_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    broken = tmp_path / name
    shutil.copytree(find(name).path, broken)
    for file in broken.glob("*.onnx"):
        file.write_text("not a graph")
    for file in broken.glob("salience.json"):
        file.write_text("{")

    def found(wanted: str) -> ModelCard:
        return find(str(broken) if wanted == name else wanted)

    monkeypatch.setattr(hiring, "find", found)
    values = run.make_context("run", ["--testnet", "--port", "0", "--data-dir", str(tmp_path)])
    announced: list[Running] = []
    with pytest.raises(Unusable, match=str(broken)):
        await run_node(run_config(values.params), announced.append, lambda _: None, asyncio.Event())
    assert len(announced) == 1


def test_a_private_job_for_the_own_worker_is_taken_with_the_first_connection(
    tmp_path: Path,
) -> None:
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}")
    node = ("run", "--testnet", "--port", str(port))
    with dispatchd(*node, home=tmp_path) as first:
        first.url()
        client.workers(1)
        (worker,) = client.json("GET", "/v1/workers")[1]["workers"]
        _, made = client.json("POST", "/v1/trust/create", {"user_id": USER})
        claim = {
            "pairing_code": made["pairing_code"],
            "provider_pubkey": worker["provider_pubkey"],
        }
        assert client.json("POST", "/v1/trust/claim", claim)[0] == 200
        assert first.stop() == 0
    with dispatchd(*node, home=tmp_path) as second:
        client.until(_committed_first(client), "completed")
        assert second.stop() == 0


def _committed_first(client: Client) -> str:
    """Commits a PRIVATE job over the first connection that is accepted."""
    for _ in range(_TRIES):
        with contextlib.suppress(ConnectionRefusedError):
            return client.commit(TASK, privacy_class="PRIVATE")
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("nobody listens")
