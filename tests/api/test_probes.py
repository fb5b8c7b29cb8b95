"""`/livez` and `/readyz`: what keeps a node from taking jobs is named, and nothing else counts."""

from pathlib import Path

from tests.api.conftest import Api
from tests.e2e.client import Client, until
from tests.support.disk import locked, newer_version
from tests.support.machines import Machines
from tests.support.node import Node

FINE = {"store": "ok", "migrations": "ok", "draining": "ok"}


async def test_a_node_that_is_well(api: Api) -> None:
    live, ready = await api.get("/livez"), await api.get("/readyz")
    assert (live.status, live.body) == (200, {"status": "live"})
    assert (ready.status, ready.body) == (200, {"status": "ready", "checks": FINE, "models": {}})


async def test_a_store_that_cannot_be_written(api: Api, tmp_path: Path) -> None:
    with locked(tmp_path / "jobs.sqlite3"):
        ready = await api.get("/readyz")
        assert (await api.get("/livez")).status == 200
    ready.refuses(503, "store")
    assert ready.body["failing"] == ["store"]
    assert ready.body["code"] == "not_ready"
    assert "locked" in ready.body["checks"]["store"]
    assert (await api.get("/readyz")).status == 200


async def test_a_database_of_another_version(api: Api, tmp_path: Path) -> None:
    with newer_version(tmp_path / "jobs.sqlite3"):
        ready = await api.get("/readyz")
    ready.refuses(503, "store", "migrations")
    assert "99" in ready.body["checks"]["migrations"]


async def test_a_node_that_is_drained(node: Node, api: Api) -> None:
    node.parts.coordinator.stop()
    ready = await api.get("/readyz")
    ready.refuses(503, "draining")
    assert ready.body["failing"] == ["draining"]
    assert (await api.get("/livez")).status == 200


def test_the_state_of_the_model(tmp_path: Path) -> None:
    with Machines(tmp_path).run() as node:
        client = Client(node.url())

        def models() -> object:
            status, ready = client.json("GET", "/readyz")
            assert status == 200
            return ready["models"] == {"demo-chat": "ready"}

        until(models, "the model is ready")
