"""Parts of a PostgreSQL database for the measurements, with what is to be there before."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg

from scripts.bench.history import ONE_JOB
from scripts.bench.postgres_cpu import postmaster_of
from scripts.bench.servers import drive, nodes

_NUMBERS = count(1)
_COLUMNS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_name = 'jobs' AND table_schema = current_schema() AND is_identity = 'NO'
    ORDER BY ordinal_position
"""
_TIDY = "VACUUM ANALYZE"


@contextmanager
def schema(database: str) -> Iterator[str]:
    """The address of a new part of a database, which is dropped at the end of the block."""
    name = f"bench_{next(_NUMBERS)}"
    asyncio.run(_execute(database, f"DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}"))
    try:
        yield f"{database}{'&' if '?' in database else '?'}search_path={name}"
    finally:
        asyncio.run(_execute(database, f"DROP SCHEMA {name} CASCADE"))


def fill(keys: Path, store: str, jobs: int) -> None:
    """Adds so many finished jobs: copies of one that a node has finished, under new ids.

    Each is a millisecond older than the last. `keys` is a folder for the node's key.
    """
    with nodes(keys, 1, store) as running:
        drive(running, ONE_JOB)
    asyncio.run(_copy(store, jobs))


def postmaster(database: str | None) -> int | None:
    """The first process of the database's server, where that runs on this machine."""

    async def ask(address: str) -> int | None:
        connection = await asyncpg.connect(address)
        try:
            return await postmaster_of(connection)
        finally:
            await connection.close()

    return None if database is None else asyncio.run(ask(database))


async def _copy(store: str, jobs: int) -> None:
    connection = await asyncpg.connect(store)
    try:
        columns = [name for (name,) in await connection.fetch(_COLUMNS)]
        await connection.execute(_copy_statement(columns), jobs, timeout=3600)
        await connection.execute(_TIDY, timeout=3600)
    finally:
        await connection.close()


def _copy_statement(columns: list[str]) -> str:
    values = {name: f'one."{name}"' for name in columns}
    values["id"] = "made.id"
    values["receipt"] = "replace(one.receipt, one.id, made.id)"
    for moment in ("created_at", "completed_at", "rank"):
        values[moment] = f"one.{moment} - made.i"
    names = ", ".join(f'"{name}"' for name in columns)
    return f"""
        WITH one AS (SELECT * FROM jobs ORDER BY seq LIMIT 1),
        made AS (
            SELECT i, gen_random_uuid()::text AS id FROM generate_series(1, $1::bigint) AS i
        )
        INSERT INTO jobs ({names}) SELECT {", ".join(values[name] for name in columns)}
        FROM one, made
    """


async def _execute(database: str, sql: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
