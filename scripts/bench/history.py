"""Fills a store with finished jobs: copies of one that the node itself has finished."""

import sqlite3
from contextlib import closing
from pathlib import Path

from scripts.bench.load import Kind, Load, Mode
from scripts.bench.servers import drive, node

ONE_JOB = Load(
    kind=Kind.BURST, mode=Mode.WAIT, workers=1, clients=1, burst=1, seconds=0, warm_seconds=0
)
_ROWS_PER_TRANSACTION = 50_000
_NEW_ID = """
    lower(printf('%s-%s-4%s-a%s-%s', hex(randomblob(4)), hex(randomblob(2)),
    substr(hex(randomblob(2)), 2), substr(hex(randomblob(2)), 2), hex(randomblob(6))))
"""
_SETTINGS = "PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;"
_TIDY = "PRAGMA wal_checkpoint(TRUNCATE);"


def fill(data_dir: Path, jobs: int) -> Path:
    """Makes a store in a folder, with so many finished jobs; its file."""
    with node(data_dir) as server:
        drive([server], ONE_JOB)
    (path,) = data_dir.glob("*.sqlite3")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(_SETTINGS)
        statement = _copy_statement(db)
        for first in range(0, jobs, _ROWS_PER_TRANSACTION):
            count = min(_ROWS_PER_TRANSACTION, jobs - first)
            db.execute("BEGIN")
            db.execute(statement, {"first": first, "count": count})
            db.execute("COMMIT")
        db.executescript(_TIDY)
    return path


def _copy_statement(db: sqlite3.Connection) -> str:
    """Copies the oldest job under new ids, each a millisecond older than the last.

    The columns are read from the store, so that a migration does not break this.
    """
    columns = [
        name
        for _, name, kind, _, _, key in db.execute("PRAGMA table_info(jobs)")
        if not (key and kind == "INTEGER")
    ]
    values = {name: f'one."{name}"' for name in columns}
    values["id"] = "made.id"
    values["receipt"] = "replace(one.receipt, one.id, made.id)"
    for moment in ("created_at", "completed_at", "rank"):
        values[moment] = f"one.{moment} - made.i"
    picked = ", ".join(values[name] for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    return f"""
        WITH RECURSIVE made (i, id) AS (
            SELECT :first + 1, {_NEW_ID}
            UNION ALL
            SELECT i + 1, {_NEW_ID} FROM made WHERE i < :first + :count
        )
        INSERT INTO jobs ({names})
        SELECT {picked} FROM made, (SELECT * FROM jobs ORDER BY rowid LIMIT 1) AS one
    """
