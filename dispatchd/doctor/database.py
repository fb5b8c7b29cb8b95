"""A network's database: its version, whether it is whole, and who can read it."""

import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path

from dispatchd.doctor import Finding, failure, ok, warning
from dispatchd.store.sqlite.connection import NEWEST_VERSION, user_version

_BUSY_SECONDS = 5.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ELSEWHERE = "Put a copy of it back, or choose another folder with --data-dir"


def database(path: Path) -> Finding:
    """Looks without changing anything, also while a node uses it."""
    if not path.exists():
        return ok(f"{path} is not there yet; the first start makes it")
    try:
        with closing(_opened(path)) as db:
            version = user_version(db)
            if version > NEWEST_VERSION:
                return _too_new(path, version)
            ((verdict, *_),) = db.execute("PRAGMA quick_check(1)").fetchall()
    except (sqlite3.Error, OSError) as error:
        return failure(f"{path} cannot be read: {error}", _ELSEWHERE)
    if verdict != "ok":
        return failure(f"{path} is damaged: {' '.join(str(verdict).split())}", _ELSEWHERE)
    if sys.platform != "win32" and path.stat().st_mode & _OTHERS:
        return warning(
            f"Others on this machine may read {path}, prompts and results included",
            f"Run: chmod 600 '{path}'",
        )
    if version < NEWEST_VERSION:
        return warning(
            f"{path} is of version {version}; the next start brings it to {NEWEST_VERSION}",
            "Keep a copy if you might go back to an older dispatchd",
        )
    return ok(f"{path} is whole and of version {version}")


def _opened(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)


def _too_new(path: Path, version: int) -> Finding:
    return failure(
        f"{path} is of version {version}, made by a newer dispatchd; this one knows versions up to"
        f" {NEWEST_VERSION}",
        "Update dispatchd, or choose another folder with --data-dir",
    )
