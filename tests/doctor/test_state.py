"""What the doctor says of databases, keys and models that are broken for real."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dispatchd.core.keyfile import KeyFile
from dispatchd.doctor.database import database
from dispatchd.doctor.files import key_file
from dispatchd.doctor.models import files
from dispatchd.engine.catalog import find
from dispatchd.engine.library import Library
from dispatchd.store.sqlite.connection import NEWEST_VERSION, prepare
from tests.support.clock import FakeClock
from tests.support.disk import newer_version
from tests.support.node import running_node
from tests.support.small_model import prepare_small

PAGE_BYTES = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database that is well."""
    prepare(tmp_path / "jobs.sqlite3")
    return tmp_path / "jobs.sqlite3"


def test_a_database_that_is_well_or_not_there(path: Path) -> None:
    finding = database(path)
    assert (finding.state, str(NEWEST_VERSION) in finding.sentence) == ("ok", True)
    assert database(path.with_name("none.sqlite3")).state == "ok"
    assert not path.with_name("none.sqlite3").exists()


async def test_a_database_that_a_node_uses(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "jobs.sqlite3"
    async with running_node(path, clock) as node:
        await node.commit({"job_type": "TASK", "task_type": "summarize", "input": "x"})
        assert database(path).state == "ok"


def test_a_database_of_a_newer_and_of_an_older_version(path: Path) -> None:
    with newer_version(path):
        newer = database(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 1")
    older = database(path)
    assert (newer.state, "Update dispatchd" in newer.remedy) == ("failure", True)
    assert (older.state, "of version 1" in older.sentence) == ("warning", True)


def test_a_database_that_is_damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[PAGE_BYTES : 3 * PAGE_BYTES] = b"\xa5" * (2 * PAGE_BYTES)
    path.write_bytes(content)
    finding = database(path)
    assert (finding.state, "damaged" in finding.sentence) == ("failure", True)
    assert "copy" in finding.remedy


@pytest.mark.parametrize("how", ["no database", "a folder"])
def test_what_is_no_database(tmp_path: Path, how: str) -> None:
    path = tmp_path / "jobs.sqlite3"
    if how == "a folder":
        path.mkdir()
    else:
        path.write_text("no database" * 1000)
    finding = database(path)
    assert (finding.state, "cannot be read" in finding.sentence) == ("failure", True)


def test_a_database_that_others_can_read(path: Path) -> None:
    path.chmod(0o644)
    finding = database(path)
    assert (finding.state, "chmod 600" in finding.remedy) == ("warning", True)


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    assert key_file(path).state == "ok"
    key = KeyFile(path, "worker", "choose another --key").load_or_create()
    assert key.public_hex[:16] in key_file(path).sentence
    path.chmod(0o640)
    assert (key_file(path).state, "chmod 600" in key_file(path).remedy) == ("failure", True)
    path.chmod(0o600)
    path.write_text('{"publicKey": [], "secretKey": []}')
    assert key_file(path).state == "failure"
    path.unlink()
    path.mkdir(mode=0o700)
    assert key_file(path).state == "failure"


@pytest.mark.parametrize("lost", ["graph.onnx", "config.json", "manifest.json"])
def test_a_model_that_lacks_a_file(tmp_path: Path, lost: str) -> None:
    folder = prepare_small(tmp_path / "models")
    library = Library(tmp_path / "models")
    assert files(folder, library).state == "ok"
    (folder / lost).write_bytes(b"") if lost != "graph.onnx" else (folder / lost).unlink()
    finding = files(folder, library)
    assert finding.state == "failure", finding
    assert finding.remedy


def test_the_embedded_models_are_whole(tmp_path: Path) -> None:
    for name in ("demo-chat", "sentiment", "summarizer"):
        assert files(find(name).path, Library(tmp_path)).state == "ok"


def test_a_classifier_that_is_broken(tmp_path: Path) -> None:
    folder = tmp_path / "sentiment"
    folder.mkdir()
    for file in find("sentiment").path.iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: 100 if "onnx" in file.name else None])
    finding = files(folder, Library(tmp_path))
    assert (finding.state, bool(finding.remedy)) == ("failure", True)
