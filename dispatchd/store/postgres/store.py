"""Opens the shared store: its migrations, its connections, and its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.store.postgres.cluster import PostgresCluster
from dispatchd.store.postgres.connection import Address, Connection, Readers
from dispatchd.store.postgres.errors import our_errors
from dispatchd.store.postgres.jobs import PostgresJobs
from dispatchd.store.postgres.migrate import migrate
from dispatchd.store.postgres.payments import PostgresPayments
from dispatchd.store.postgres.pooling import refuse_pooling_by_transaction
from dispatchd.store.postgres.ringing import Ringer
from dispatchd.store.postgres.seals import PostgresSeals
from dispatchd.store.postgres.writing import writing
from dispatchd.store.sql.groups import Flushed, Grouped
from dispatchd.store.sql.store import SqlStore, store_over

_READERS = 8
CONNECTIONS = 1 + _READERS + 2
"""What a coordinator takes: one that writes, those that read, one that listens, one that rings."""
_BEGIN_CHAIN = """
    INSERT INTO chains (size, last, peaks) VALUES (0, decode(repeat('00', 32), 'hex'), '')
    ON CONFLICT DO NOTHING
"""


@asynccontextmanager
async def open_postgres(
    url: str, coordinator_key: str, flushed: Flushed | None = None
) -> AsyncIterator[SqlStore]:
    """Opens the database in the name of a coordinator; raises `Unusable` where that fails.

    `flushed` is told of every group of writes.
    """
    address = Address(url, coordinator_key)
    await _prepare(address)
    ringer = Ringer(address)
    connection = Connection(address, alone=True, rung=ringer.ring)
    readers = Readers(address, _READERS)
    writer = Grouped(connection, writing, flushed)
    try:
        store = replace(
            store_over(writer, readers, PostgresJobs, PostgresPayments),
            cluster=PostgresCluster(address, ringer, writer, readers),
            seals=PostgresSeals(writer, readers),
        )
        try:
            await store.jobs.check()
        except StoreUnavailable as error:
            raise Unusable(f"Cannot use the database of --store: {error}") from None
        yield store
    finally:
        await writer.close()
        await ringer.close()
        await readers.close()
        await connection.close()


async def _prepare(address: Address) -> None:
    try:
        connection = await address.connect()
        try:
            with our_errors():
                await refuse_pooling_by_transaction(address, connection)
                await migrate(connection)
                await connection.execute(_BEGIN_CHAIN)
        finally:
            await connection.close()
    except StoreUnavailable as error:
        raise Unusable(f"Cannot use the database of --store: {error}") from None
