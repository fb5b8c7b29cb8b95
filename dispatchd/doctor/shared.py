"""The database that coordinators share: whether it answers, and suits what they do with it.

No finding repeats its address, in which there may be a password.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any, TypeAlias

import asyncpg

from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.doctor import Finding, failure, ok, warning
from dispatchd.doctor.coordinator import SET_CLOCK
from dispatchd.store.postgres.connection import Address
from dispatchd.store.postgres.errors import our_errors
from dispatchd.store.postgres.migrate import NEWEST_VERSION, version_of
from dispatchd.store.postgres.pooling import BY_TRANSACTION, REMEDY, hears
from dispatchd.store.postgres.store import CONNECTIONS

_TESTED = range(15, 19)
"""Major versions of the server under which our tests pass."""
_SKEW_GOOD_SECONDS = 1.0
_SKEW_MAX_SECONDS = 10.0
_REACH = "Start it, or correct --store: its host, port, user, password and name"
_ROOM = "Raise max_connections of the server, or stop what else uses it"
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_PLACES = """
    SELECT current_setting('max_connections')::int,
        current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true)::int, 0),
        (SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())
"""

_Connection: TypeAlias = "asyncpg.Connection[Any]"


def reachable(url: str) -> Finding:
    """Whether it answers, and of which version its tables are."""

    async def look(connection: _Connection) -> Finding:
        version = await version_of(connection)
        if version == 0:
            return ok("The database answers and is empty; the first start makes its tables")
        if version > NEWEST_VERSION:
            return failure(
                f"The database is of version {version}, made by a newer dispatchd; this one knows"
                f" versions up to {NEWEST_VERSION}",
                "Update dispatchd, or use another database",
            )
        if version < NEWEST_VERSION:
            return warning(
                f"The database is of version {version}; a start brings it to {NEWEST_VERSION}",
                "Stop all coordinators first: none of them may use it meanwhile",
            )
        return ok(f"The database answers and is of version {version}")

    return _asked(url, look)


def server(url: str) -> Finding:
    """Whether the server is of a version that we have tried."""

    async def look(connection: _Connection) -> Finding:
        major = connection.get_server_version().major
        tried = f"dispatchd is tested with {_TESTED[0]} to {_TESTED[-1]}"
        if major < _TESTED[0]:
            return warning(f"The server is PostgreSQL {major}; {tried}", "Update the server")
        if major > _TESTED[-1]:
            return ok(f"The server is PostgreSQL {major}, newer than any that was tried; {tried}")
        return ok(f"The server is PostgreSQL {major}; {tried}")

    return _asked(url, look)


def bells(url: str) -> Finding:
    """Whether what one connection notifies is heard by another that listens."""

    async def look(_: _Connection) -> Finding:
        if await hears(Address(url, "")):
            return ok("Coordinators can hear one another: LISTEN and NOTIFY work")
        return failure(BY_TRANSACTION.rstrip("."), REMEDY)

    return _asked(url, look)


def clock(url: str) -> Finding:
    """How far its clock and this machine's are apart, the way there allowed for."""

    async def look(connection: _Connection) -> Finding:
        began = time.time()
        theirs = await connection.fetchval(_NOW)
        ended = time.time()
        skew, doubt = theirs - (began + ended) / 2, (ended - began) / 2
        said = (
            f"The database's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} ours"
        )
        if abs(skew) - doubt > _SKEW_MAX_SECONDS:
            return failure(f"{said}: leases end too early or too late", SET_CLOCK)
        if abs(skew) - doubt > _SKEW_GOOD_SECONDS:
            return warning(f"{said}; coordinators must agree to about a second", SET_CLOCK)
        return ok(
            f"The database's clock and ours agree, as far as can be told within {doubt:.2f} s"
        )

    return _asked(url, look)


def places(url: str) -> Finding:
    """Whether there is room for a coordinator's connections."""

    async def look(connection: _Connection) -> Finding:
        ((most, kept, used),) = await connection.fetch(_PLACES)
        free = max(0, most - kept - used)
        said = f"{free} of {most} connections are free, and a coordinator takes {CONNECTIONS}"
        if most - kept < CONNECTIONS:
            return failure(said, _ROOM)
        if free < CONNECTIONS:
            return warning(f"{said}; those in use may be a coordinator's own", _ROOM)
        return ok(said)

    return _asked(url, look)


CHECKS = MappingProxyType(
    {"": reachable, "server": server, "bells": bells, "clock": clock, "connections": places}
)
"""All of these, by what they are about."""


def _asked(url: str, look: Callable[[_Connection], Awaitable[Finding]]) -> Finding:
    """What a look finds on a connection of its own."""

    async def ask() -> Finding:
        connection = await Address(url, "").connect()
        try:
            with our_errors():
                return await look(connection)
        finally:
            connection.terminate()

    try:
        return asyncio.run(ask())
    except (StoreUnavailable, Unusable, asyncpg.PostgresError) as error:
        return failure(str(error).rstrip("."), _REACH)
