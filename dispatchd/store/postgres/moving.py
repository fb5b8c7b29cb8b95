"""Moves everything from an embedded store into an empty shared one, and compares it."""

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.store.postgres.connection import Address
from dispatchd.store.postgres.errors import our_errors
from dispatchd.store.postgres.migrate import alone_with, migrate
from dispatchd.store.postgres.pooling import refuse_pooling_by_transaction
from dispatchd.store.sqlite.store import alone

_ROWS_AT_ONCE = 1000


# What tables are called there and here; those that others refer to come first.
_TABLES = {
    name: name
    for name in (
        "jobs",
        "idempotency_keys",
        "worker_records",
        "pairing_secret",
        "pairing_codes",
        "pairings",
        "users",
        "ledger_accounts",
        "ledger_transfers",
        "payments",
    )
} | {"chain_head": "chains", "chain_entries": "chains_entries", "chain_nodes": "chains_nodes"}
_ONLY_THERE = {("chain_head", "id")}
_TRUTH = {("jobs", "extended")}
_OWNER = "SELECT coordinator_key, size FROM chain_head"
_EMPTY = """
    SELECT NOT EXISTS (SELECT 1 FROM jobs) AND NOT EXISTS (SELECT 1 FROM users)
        AND NOT EXISTS (SELECT 1 FROM pairings) AND NOT EXISTS (SELECT 1 FROM ledger_accounts)
        AND NOT EXISTS (SELECT 1 FROM chains)
"""
_NEXT_SEQ = """
    SELECT setval(pg_get_serial_sequence('jobs', 'seq'), coalesce(max(seq), 0) + 1, false)
    FROM jobs
"""


async def move(file: Path, url: str) -> dict[str, int]:
    """Moves what is in a file; how many rows each table had.

    Both sides are locked meanwhile. Raises `Unusable` where one is in use, the database is not
    empty, or what is there afterwards is not the same; then nothing has been moved.
    """
    with alone(file) as path, closing(sqlite3.connect(path, isolation_level=None)) as source:
        owner, size = source.execute(_OWNER).fetchone()
        if owner is None and size:
            raise Unusable(f"The chain of receipts in {path} belongs to nobody. Start it once.")
        try:
            async with _target(Address(url, owner or "")) as target:
                return {name: await _move(source, target, name) for name in _TABLES}
        except (StoreUnavailable, asyncpg.PostgresError) as error:
            raise Unusable(f"Nothing was moved: {error}") from None


@asynccontextmanager
async def _target(address: Address) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """The database within a transaction, while nobody else uses it; it must be empty."""
    connection = await address.connect()
    try:
        with our_errors():
            await refuse_pooling_by_transaction(address, connection)
            await migrate(connection)
            async with alone_with(connection), connection.transaction():
                if not await connection.fetchval(_EMPTY):
                    raise Unusable("The database to move into is not empty.")
                await connection.execute("DELETE FROM pairing_secret")
                yield connection
                await connection.execute(_NEXT_SEQ)
    finally:
        await connection.close()


async def _move(source: sqlite3.Connection, target: "asyncpg.Connection[Any]", there: str) -> int:
    """Copies a table, compares it, and returns the number of its rows."""
    here = _TABLES[there]
    known = [str(row[1]) for row in source.execute(f"PRAGMA table_info({there})")]
    columns = [name for name in known if (there, name) not in _ONLY_THERE]
    sent, arrived = _Rows(), _Rows()
    for rows in _rows(source, there, columns):
        await target.copy_records_to_table(here, records=rows, columns=columns)
        sent.add(rows)
    sql = f"SELECT {', '.join(columns)} FROM {here}"
    async for row in target.cursor(sql, prefetch=_ROWS_AT_ONCE):
        arrived.add([tuple(row)])
    if sent != arrived:
        raise Unusable(f"Nothing was moved: the rows of {there} are not the same there.")
    return sent.count


def _rows(
    source: sqlite3.Connection, table: str, columns: list[str]
) -> Iterator[list[tuple[object, ...]]]:
    """A table's rows, some at a time, as PostgreSQL takes them."""
    cursor = source.execute(f"SELECT {', '.join(columns)} FROM {table}")
    truth = [(table, name) in _TRUTH for name in columns]
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        yield [
            tuple(bool(v) if is_truth else v for v, is_truth in zip(row, truth, strict=True))
            for row in rows
        ]


class _Rows(Struct):
    """A number of rows, and a sum of their hashes, in which their order does not count."""

    count: int = 0
    total: int = 0

    def add(self, rows: Iterable[tuple[object, ...]]) -> None:
        """These as well."""
        for row in rows:
            digest = hashlib.sha256(msgspec.msgpack.encode(row)).digest()
            self.count += 1
            self.total = (self.total + int.from_bytes(digest)) % 2**256
