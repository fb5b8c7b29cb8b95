"""Chooses a network's store: a file for this node alone, or a database that others share."""

from contextlib import AbstractAsyncContextManager
from importlib import import_module

from dispatchd.config import NetworkConfig
from dispatchd.coordinator.chain import coordinator_key_file
from dispatchd.store.sql.groups import Flushed
from dispatchd.store.sql.store import SqlStore
from dispatchd.store.sqlite.store import open_sqlite


def open_store(network: NetworkConfig, flushed: Flushed) -> AbstractAsyncContextManager[SqlStore]:
    """The store of a network, open within a block; raises `Unusable`, also on the way in.

    `flushed` is told of every group of writes.

    In a shared database a coordinator is known by its key, which is made first of all.
    """
    if network.store is None:
        return open_sqlite(network.database, flushed)
    postgres = import_module("dispatchd.store.postgres.store")  # with the client that it needs
    file = coordinator_key_file(network.database)
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise file.unusable(error) from None
    key = file.load_or_create()
    opening: AbstractAsyncContextManager[SqlStore] = postgres.open_postgres(
        network.store, key.public_hex, flushed
    )
    return opening
