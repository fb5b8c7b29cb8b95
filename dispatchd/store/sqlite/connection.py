"""Connections to the database file: how they are set up, and the numbered migrations."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import TypeVar

import aiosqlite

from dispatchd.core.errors import StoreUnavailable, Unusable

_T = TypeVar("_T")

_BUSY_SECONDS = 2.0
_PREPARED_STATEMENTS = 256
_SETTINGS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA cache_size = -16000;
    PRAGMA journal_size_limit = 67108864;
    -- What undoes a single statement is temporary; most groups of writes would make a file for it.
    PRAGMA temp_store = MEMORY;
"""
_MIGRATION_NAME = re.compile(r"(\d{4})_\w+\.sql")


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that can run a whole function on its thread in one hop."""

    async def call(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Runs `work` on the connection's thread; SQLite's own errors become ours."""
        with _our_errors():
            return await self._execute(work, self._conn)  # type: ignore[no-any-return,no-untyped-call]


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise StoreUnavailable(f"The job store does not work at the moment: {error}.") from error


@asynccontextmanager
async def connect(path: Path) -> AsyncIterator[Connection]:
    """Opens the database, which must exist, and closes it again."""

    def connector() -> sqlite3.Connection:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_PREPARED_STATEMENTS,
        )

    connection = Connection(connector, 64)
    try:
        await connection
        await connection.call(lambda db: db.executescript(_SETTINGS))
        yield connection
    finally:
        await asyncio.shield(connection.close())


def prepare(path: Path) -> None:
    """Creates the database file if need be and brings it to the present version.

    Raises `Unusable` where the file cannot be written, is no database or is of a newer version.
    """
    try:
        path.touch(mode=0o600, exist_ok=True)
        db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise Unusable(cannot_use(path, error)) from None
    try:
        db.executescript(_SETTINGS)
        _migrate(db, path)
    except sqlite3.Error as error:
        raise Unusable(cannot_use(path, error)) from None
    finally:
        db.close()


def cannot_use(path: Path, error: Exception) -> str:
    """The sentence for a database that cannot be opened."""
    return f"Cannot use the database {path}: {error}. Choose another folder with --data-dir."


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    present = user_version(db)
    migrations = _migrations()
    newest = NEWEST_VERSION
    if present > newest:
        raise Unusable(
            f"The database {path} is of version {present}, made by a newer dispatchd; this one"
            f" knows versions up to {newest}. Update dispatchd, or use another --data-dir."
        )
    for version in range(present + 1, newest + 1):
        db.executescript(
            f"BEGIN IMMEDIATE;{migrations[version]};PRAGMA user_version = {version};COMMIT;"
        )


def refuse_newer(db: sqlite3.Connection) -> None:
    """Raises `StoreUnavailable` where another program has changed the file's version meanwhile."""
    version = user_version(db)
    if version != NEWEST_VERSION:
        raise StoreUnavailable(
            f"The database is of version {version} now, but this dispatchd knows {NEWEST_VERSION}."
        )


def user_version(db: sqlite3.Connection) -> int:
    """The version of the schema that the file is of; 0 for an empty one."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrations() -> dict[int, str]:
    folder = resources.files("dispatchd.store.sqlite") / "migrations"
    return {
        int(match[1]): file.read_text()
        for file in folder.iterdir()
        if (match := _MIGRATION_NAME.fullmatch(file.name))
    }


NEWEST_VERSION = max(_migrations())
