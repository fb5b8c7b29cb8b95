"""Brings the shared database to the present version, while nobody uses an older one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.store.sql.migrations import migrations_in

# A database may have several stores, each in a schema of its own.
_LOCK = "hashtextextended('dispatchd ' || current_schema(), 0)"
HELD_WHILE_USED = f"SELECT pg_advisory_lock_shared({_LOCK})"
_ALONE = f"SELECT pg_advisory_lock({_LOCK})"
_NOT_ALONE = f"SELECT pg_advisory_unlock({_LOCK})"
_WAIT = "SET lock_timeout = '5s'"
_TABLE = "CREATE TABLE IF NOT EXISTS dispatchd_version (version bigint NOT NULL)"
_KNOWN = "SELECT to_regclass('dispatchd_version') IS NOT NULL"
_VERSION = "SELECT coalesce(max(version), 0) FROM dispatchd_version"
_ADD = "INSERT INTO dispatchd_version VALUES ($1)"

_MIGRATIONS = migrations_in("dispatchd.store.postgres")
NEWEST_VERSION = max(_MIGRATIONS)


async def migrate(connection: "asyncpg.Connection[Any]") -> None:
    """Runs the migrations that are missing.

    Raises `Unusable` where the database is of a newer version, or of an older one that is in use.
    """
    present = await version_of(connection)
    if present > NEWEST_VERSION:
        raise Unusable(
            f"The database of --store is of version {present}, made by a newer dispatchd; this one"
            f" knows versions up to {NEWEST_VERSION}. Update dispatchd, or use another database."
        )
    if present == NEWEST_VERSION:
        return
    async with alone_with(connection):
        await connection.execute(_TABLE)
        for version in range(await version_of(connection) + 1, NEWEST_VERSION + 1):
            async with connection.transaction():
                await connection.execute(_MIGRATIONS[version])
                await connection.execute(_ADD, version)


@asynccontextmanager
async def alone_with(connection: "asyncpg.Connection[Any]") -> AsyncIterator[None]:
    """Nobody uses the database during the block; raises `Unusable` where somebody does."""
    await connection.execute(_WAIT)
    try:
        await connection.execute(_ALONE)
    except asyncpg.LockNotAvailableError:
        raise Unusable(
            "Coordinators use the database, which must be let alone. Stop them first."
        ) from None
    try:
        yield
    finally:
        await connection.execute(_NOT_ALONE)


async def refuse_other_version(connection: "asyncpg.Connection[Any]") -> None:
    """Raises `StoreUnavailable` where the database is of a version that we do not know."""
    version = await version_of(connection)
    if version != NEWEST_VERSION:
        raise StoreUnavailable(
            f"The database is of version {version} now, but this dispatchd knows {NEWEST_VERSION}."
        )


async def version_of(connection: "asyncpg.Connection[Any]") -> int:
    """The version that the database is of; 0 for one without our tables."""
    known = await connection.fetchval(_KNOWN)
    return int(await connection.fetchval(_VERSION)) if known else 0
