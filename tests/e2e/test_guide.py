"""Every command of the user's guide, typed literally, gets the answer that the guide shows."""

import hashlib
import json
import re
import shutil
import subprocess
from base64 import b64decode
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from nacl.signing import VerifyKey

from tests.e2e.client import ENDS, until
from tests.support.node import Node
from tests.support.process import clean_environment, dispatchd

GUIDE = Path(__file__).with_name("submit-a-job.txt").read_text()
EXAMPLE_ID = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
# The guide was copied from a page: what follows a command is glued to it.
COMMAND = re.compile(
    r"""^curl[ ](?:
        -X[ ]POST[ ]\S+ (?:[ ]\\\n-[Hd][ ](?:"[^"]*"|'[^']*'))+
        | "[^"]*"
        | \S+/v1/jobs/[0-9a-f-]{36}
    )""",
    re.MULTILINE | re.VERBOSE,
)
COMMANDS = COMMAND.findall(GUIDE)
LLM_RESULT_FIELDS = [
    *("text", "model", "prompt_tokens", "completion_tokens", "finish_reason", "determinism")
]
RECEIPT_FIELDS = ("job_id", "provider_pubkey", "output_hash", "completed_at", "payment_ref")

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs program: curl")
port_4010 = pytest.mark.xdist_group("port 4010")


def shown_at(start: int) -> dict[str, Any]:
    """The JSON object that the guide shows there."""
    value, _ = json.JSONDecoder().raw_decode(GUIDE, start)
    return dict(value)


def example(after: str) -> dict[str, Any]:
    """The reply that the guide shows after a line that ends with these words."""
    return shown_at(GUIDE.index("{", GUIDE.index(f"{after}\n") + len(after)))


QUOTE = shown_at(GUIDE.index(COMMANDS[0]) + len(COMMANDS[0]))
COMMITTED = example("Response:")
PENDING = example("While pending")
COMPLETED = example("When completed")
FAILED = example("On failure")


def typed(command: str, home: Path) -> str:
    """What a command prints when it is typed into a shell."""
    done = subprocess.run(
        ["bash", "-c", command],
        env=clean_environment(home),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def polled(command: str, job_id: str, home: Path) -> str:
    """What the guide's poll prints in the end, for a job of ours."""

    def look() -> str | None:
        text = typed(command.replace(EXAMPLE_ID, job_id), home)
        return text if json.loads(text)["status"] in ENDS else None

    return until(look, f"job {job_id} ends")


def result_text(reply: str) -> str:
    """The result exactly as it stands in a poll's reply."""
    start = reply.index('"result":') + len('"result":')
    _, end = json.JSONDecoder().raw_decode(reply, start)
    return reply[start:end]


def assert_same_shape(found: dict[str, Any], shown: dict[str, Any]) -> None:
    """Same names in the same order, same types of values."""
    assert list(found) == list(shown)
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in shown.items()
    }


def assert_time(text: str) -> datetime:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), text
    return datetime.fromisoformat(text)


def assert_receipt(reply: str, job_id: str) -> None:
    """The receipt of a completed job has the guide's fields and proves the result."""
    job = json.loads(reply)
    receipt = job["receipt"]
    assert [name for name in receipt if name != "verified"] == list(COMPLETED["receipt"])
    assert receipt["job_id"] == job_id
    assert re.fullmatch("[0-9a-f]{64}", receipt["provider_pubkey"])
    digest = hashlib.sha256(result_text(reply).encode()).hexdigest()
    assert receipt["output_hash"] == f"sha256:{digest}"
    assert receipt["payment_ref"] is None
    assert receipt["verified"] is True
    assert (
        assert_time(job["created_at"])
        <= assert_time(receipt["completed_at"])
        <= assert_time(job["completed_at"])
    )
    signed = json.dumps(
        {name: receipt[name] for name in RECEIPT_FIELDS}, separators=(",", ":"), ensure_ascii=False
    )
    key = VerifyKey(bytes.fromhex(receipt["provider_pubkey"]))
    key.verify(signed.encode(), b64decode(receipt["signature"], validate=True))


def assert_completed(reply: str, job_id: str) -> dict[str, Any]:
    job = json.loads(reply)
    assert_same_shape(job, COMPLETED)
    assert job["id"] == job_id
    assert job["status"] == "completed"
    assert_receipt(reply, job_id)
    return dict(job["result"])


def committed(reply: str) -> str:
    """The job's id in a commit's reply."""
    answer = json.loads(reply)
    assert_same_shape(answer, COMMITTED)
    job_id = answer["job_id"]
    assert str(UUID(job_id)) == job_id
    return str(job_id)


def test_all_commands_of_the_guide_are_found() -> None:
    assert len(COMMANDS) == len(re.findall(r"^curl ", GUIDE, re.MULTILINE)) == 4


@needs_curl
@port_4010
def test_the_guide_works_as_it_is_written(tmp_path: Path) -> None:
    quote, llm, task, poll = COMMANDS
    home = tmp_path / "home"
    with dispatchd("run", "--testnet", home=home, XDG_DATA_HOME=str(tmp_path / "data")) as node:
        assert node.url() == "http://127.0.0.1:4010"

        quoted = json.loads(typed(quote, home))
        assert list(quoted) == list(QUOTE)
        assert quoted == QUOTE
        assert f"{quoted['endpoint']} " in llm

        llm_id = committed(typed(llm, home))
        task_id = committed(typed(task, home))
        assert llm_id != task_id

        answer = assert_completed(polled(poll, llm_id, home), llm_id)
        assert list(answer) == LLM_RESULT_FIELDS
        assert len(re.findall(r"[A-Za-z]+", answer["text"])) >= 5, answer["text"]
        assert 1 <= answer["completion_tokens"] <= 256

        found = assert_completed(polled(poll, task_id, home), task_id)
        assert_same_shape(found, COMPLETED["result"])
        assert found["sentiment"] == COMPLETED["result"]["sentiment"]
        assert 0 <= found["confidence"] <= 1


@needs_curl
@port_4010
def test_a_job_without_worker_is_pending_as_the_guide_shows(tmp_path: Path) -> None:
    _, llm, _, poll = COMMANDS
    home = tmp_path / "home"
    folders = {"XDG_DATA_HOME": str(tmp_path / "data"), "TESTNET_MODE": "true"}
    with dispatchd("run", "--no-worker", home=home, **folders) as node:
        assert node.url() == "http://127.0.0.1:4010"
        job_id = committed(typed(llm, home))

        job = json.loads(typed(poll.replace(EXAMPLE_ID, job_id), home))

        assert_same_shape(job, PENDING)
        assert job == PENDING | {"id": job_id, "created_at": job["created_at"]}
        assert_time(job["created_at"])


async def test_a_job_that_nobody_takes_fails_as_the_guide_shows(node: Node) -> None:
    llm = COMMANDS[1]
    body = llm[llm.index("-d '") + len("-d '") : -1]
    json_type = {"Content-Type": "application/json"}
    url = f"{node.url}/v1/jobs/commit/fast"
    async with node.http.post(url, data=body, headers=json_type) as reply:
        assert reply.status == 201
        job_id = committed(await reply.text())
    await node.pass_time(29)
    assert (await node.job(job_id))["status"] == "pending"

    await node.pass_time(2)

    async with node.http.get(f"{node.url}/v1/jobs/{job_id}") as reply:
        job = json.loads(await reply.text())
    assert_same_shape(job, FAILED)
    assert job == FAILED | {"id": job_id, "created_at": job["created_at"]}
    assert_time(job["created_at"])
