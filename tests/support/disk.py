"""Trouble with the database file, made by another program."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

NEWER_VERSION = 99


@contextmanager
def newer_version(database: Path) -> Iterator[None]:
    """During the block the file says that a newer dispatchd has changed it."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as other:
        (version,) = other.execute("PRAGMA user_version").fetchone()
        other.execute(f"PRAGMA user_version = {NEWER_VERSION}")
        try:
            yield
        finally:
            other.execute(f"PRAGMA user_version = {version}")


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """During the block another program holds the file's write lock."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
