"""`dispatchd status` against a real node, and against coordinators that know nothing of it."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.e2e.client import TASK, Client
from tests.support.process import dispatchd


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("node")
    arguments = ("run", "--testnet", "--port", "0", "--data-dir", str(folder / "data"))
    with dispatchd(*arguments, home=folder) as node:
        yield node.url()


@pytest.fixture(scope="module")
def job_id(url: str) -> str:
    client = Client(url)
    found = client.commit(TASK, "ann")
    client.until(found, "completed")
    return found


def test_one_screen(invoke: Invoke, url: str, job_id: str) -> None:
    result = invoke("status", COORDINATOR_URL=url)
    assert result.exit_code == 0, result.output
    for wanted in (
        r"^dispatchd \S+ on eip155:10143, http://",
        r"^waiting 0   running 0   workers 1   completed \d+   failed 0   last minute \d+$",
        r"^completed a minute  .{15}  most \d+",
        r"^median time         LLM_INFER \S+.*   TASK \d",
        r"^[0-9a-f]{16}  DESKTOP  LLM_INFER, TASK  0/\d+ .*demo-chat",
        rf"^{job_id}  TASK +FAST  completed  ann +\d+ ms$",
    ):
        assert re.search(wanted, result.output, re.MULTILINE), (wanted, result.output)


def test_json_is_what_the_node_says(invoke: Invoke, url: str, job_id: str) -> None:
    found = json.loads(invoke("status", "--json", COORDINATOR_URL=url).output)
    assert found["service"] == "dispatchd"
    assert job_id in [job["id"] for job in found["jobs"]]


def test_watching_goes_on_until_it_is_interrupted(url: str, tmp_path: Path) -> None:
    with dispatchd("status", "--watch", "--json", "--coordinator", url, home=tmp_path) as watching:
        lines = watching.out.wait_for(r"(\{.+\})\n(\{.+\})\n")
        assert json.loads(lines[1])["timestamp"] <= json.loads(lines[2])["timestamp"]


def test_a_coordinator_that_has_no_such_route(invoke: Invoke, url: str) -> None:
    result = invoke("status", COORDINATOR_URL=f"{url}/elsewhere")
    assert result.exit_code == 2
    assert "does not show its network" in result.output


def test_nobody_there(invoke: Invoke) -> None:
    result = invoke("status", COORDINATOR_URL="http://127.0.0.1:1")
    assert result.exit_code == 3


@pytest.mark.parametrize("said", [{}, {"now": {}}, {"timestamp": "noon"}], ids=str)
def test_what_is_no_coordinator_of_ours(invoke: Invoke, said: dict[str, object]) -> None:
    body = json.dumps(said).encode()

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = invoke("status", COORDINATOR_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert result.exit_code == 3
    assert "does not show its network" in result.output
