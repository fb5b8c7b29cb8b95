"""Connections to the database file: how they are set up, and the numbered migrations."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import aiosqlite

from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.store.sql.migrations import migrations_in
from dispatchd.store.sqlite.rows import chunks, value_rows

_T = TypeVar("_T")

_SQLITE_MIN = (3, 37)  # STRICT tables
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
_MIGRATIONS = migrations_in("dispatchd.store.sqlite")
NEWEST_VERSION = max(_MIGRATIONS)


class Database(sqlite3.Connection):
    """A connection on its thread, with what our statements ask of one besides."""

    def execute_rows(
        self, sql: str, types: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> list[sqlite3.Cursor]:
        """Runs a statement over many rows, in parts."""
        return [
            self.execute(
                sql.format(rows=value_rows(len(some), len(types))),
                [value for row in some for value in row],
            )
            for some in chunks(rows)
        ]

    def refuse_other_version(self) -> None:
        """Looks at the file's version, which another program may have changed meanwhile."""
        version = user_version(self)
        if version != NEWEST_VERSION:
            raise StoreUnavailable(
                f"The database is of version {version} now, but this dispatchd knows"
                f" {NEWEST_VERSION}."
            )

    def lock(self, name: str) -> None:
        """There is one writer."""


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that can run a whole function on its thread in one hop."""

    async def call(self, work: Callable[[Database], _T]) -> _T:
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
            factory=Database,
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

    Raises `Unusable` where the file cannot be written, is no database or is of a newer version,
    and where Python was built with too old an SQLite.
    """
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        raise Unusable(
            f"This Python's SQLite is {sqlite3.sqlite_version}, and dispatchd needs"
            f" {'.'.join(map(str, _SQLITE_MIN))} or newer. Use another Python, or the binary."
        )
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
    newest = NEWEST_VERSION
    if present > newest:
        raise Unusable(
            f"The database {path} is of version {present}, made by a newer dispatchd; this one"
            f" knows versions up to {newest}. Update dispatchd, or use another --data-dir."
        )
    for version in range(present + 1, newest + 1):
        db.executescript(
            f"BEGIN IMMEDIATE;{_MIGRATIONS[version]};PRAGMA user_version = {version};COMMIT;"
        )


def user_version(db: sqlite3.Connection) -> int:
    """The version of the schema that the file is of; 0 for an empty one."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)
