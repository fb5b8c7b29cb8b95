"""Connections to the shared database: how one is opened, kept, and opened again."""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, TypeVar

import asyncpg
from msgspec import Struct

from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.core.neighbour import Bell
from dispatchd.store.postgres.bridge import bridged
from dispatchd.store.postgres.database import Database
from dispatchd.store.postgres.errors import our_errors, sentence
from dispatchd.store.postgres.migrate import HELD_WHILE_USED, refuse_other_version

_T = TypeVar("_T")

_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 10.0
_NO_ADDRESS = (
    "--store is no address such as postgresql://USER:PASSWORD@HOST:5432/NAME; in a password, signs"
    " like / and # are written %2F and %23."
)
# By notices triggers say which bells to ring. Of a machine that is cut off, or has lost its power,
# the server would else keep the sessions, with all that they have locked, for more than two hours.
_SPEAK_FOR = """
    SELECT set_config('dispatchd.coordinator', $1, false),
        set_config('client_min_messages', 'notice', false),
        set_config('tcp_keepalives_idle', '10', false),
        set_config('tcp_keepalives_interval', '5', false),
        set_config('tcp_keepalives_count', '3', false),
        set_config('tcp_user_timeout', '25000', false),
        set_config('idle_in_transaction_session_timeout', '20000', false)
"""
_LOCK_WAIT = "SET lock_timeout = '3s'"
_NO_WAIT = "RESET lock_timeout"
_ALONE = """
    SELECT pg_advisory_lock(hashtextextended(
        'coordinator ' || current_schema() || current_setting('dispatchd.coordinator'), 0
    ))
"""


class Address(Struct, frozen=True):
    """Where the database is, and for which coordinator we speak there."""

    url: str
    coordinator_key: str

    async def connect(self) -> "asyncpg.Connection[Any]":
        """A new connection; raises `StoreUnavailable`, and `Unusable` for what is no address."""
        try:
            with our_errors():
                connection = await asyncpg.connect(
                    self.url,
                    timeout=_CONNECT_SECONDS,
                    command_timeout=_COMMAND_SECONDS,
                    statement_cache_size=0,  # `Database` keeps statements itself
                    server_settings={"application_name": "dispatchd"},
                )
                try:  # poolers refuse settings that they do not know where a session begins
                    await connection.execute(_SPEAK_FOR, self.coordinator_key)
                except BaseException:
                    connection.terminate()
                    raise
                return connection
        except asyncpg.PostgresError as error:  # a wrong password, no such database
            raise StoreUnavailable(sentence(error)) from error
        except ValueError:  # whose words may be a part of the password
            raise Unusable(_NO_ADDRESS) from None


class Connection:
    """A connection that is opened when it is first used, and again once it has broken."""

    def __init__(
        self,
        address: Address,
        *,
        alone: bool = False,
        rung: Callable[[AbstractSet[Bell]], None] = lambda _: None,
    ) -> None:
        """`alone`: nobody else has such a connection in the name of the same coordinator.

        `rung` is told of the bells that a transaction rings, once it is on disk.
        """
        self._address = address
        self._alone = alone
        self._rung = rung
        self._raw: asyncpg.Connection[Any] | None = None
        self._database: Database | None = None
        self._closed = False

    @property
    def server_pid(self) -> int | None:
        """By which the server names this connection; None where there is none."""
        return None if self._raw is None else self._raw.get_server_pid()

    async def call(self, work: Callable[[Any], _T]) -> _T:
        """Runs a function over the database; raises `StoreUnavailable`.

        Whatever ends it amid a transaction ends the connection, and so the transaction.
        """
        raw, database = await self._opened()
        try:
            return await bridged(partial(work, database))
        except BaseException as error:
            if isinstance(error, StoreUnavailable) or raw.is_in_transaction():
                raw.terminate()
            raise

    async def close(self) -> None:
        """Ends the connection, for good."""
        self._closed = True
        if self._raw is not None and not self._raw.is_closed():
            try:
                await self._raw.close(timeout=_CONNECT_SECONDS)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self._raw.terminate()

    async def _opened(self) -> "tuple[asyncpg.Connection[Any], Database]":
        if self._closed:
            raise StoreUnavailable("The job store is closed.")
        if self._raw is None or self._database is None or self._raw.is_closed():
            raw = await self._address.connect()
            try:
                with our_errors():
                    await raw.execute(HELD_WHILE_USED)
                    await refuse_other_version(raw)
                    if self._alone:
                        await _be_alone(raw)
            except BaseException:
                raw.terminate()
                raise
            self._raw, self._database = raw, Database(raw, self._rung)
        return self._raw, self._database


async def _be_alone(raw: "asyncpg.Connection[Any]") -> None:
    """Waits a little: a connection that has just ended may be there for a moment still."""
    try:
        await raw.execute(_LOCK_WAIT)
        await raw.execute(_ALONE)
        await raw.execute(_NO_WAIT)
    except asyncpg.LockNotAvailableError:
        raise StoreUnavailable(
            "Another coordinator with the same key uses the database; each needs a --data-dir"
            " and a key of its own."
        ) from None


class Readers:
    """A pool of connections for what only reads, of which the last used is used next."""

    def __init__(self, address: Address, count: int) -> None:
        self._all = [Connection(address) for _ in range(count)]
        self._free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for connection in reversed(self._all):
            self._free.put_nowait(connection)

    async def do(self, operation: Callable[[Any], _T]) -> _T:
        """Runs an operation on a connection of its own."""
        connection = await self._free.get()
        try:
            return await connection.call(operation)
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Ends the connections."""
        await asyncio.gather(*(connection.close() for connection in self._all))
