"""Python may come with an SQLite that is too old, as on Ubuntu 20.04 and Debian 11."""

import sqlite3
from pathlib import Path

import pytest

from dispatchd.core.errors import Unusable
from dispatchd.store.sqlite.connection import prepare


def test_an_old_sqlite_is_named_and_no_file_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(Unusable, match=r"SQLite is 3\.34\.1, and dispatchd needs 3\.37"):
        prepare(tmp_path / "jobs.db")
    assert not (tmp_path / "jobs.db").exists()


def test_the_oldest_that_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 0))
    prepare(tmp_path / "jobs.db")
    assert (tmp_path / "jobs.db").stat().st_size
