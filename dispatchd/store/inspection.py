"""Looks through a store from outside, whichever it is: its jobs, and every chain in it."""

from importlib import import_module
from pathlib import Path
from typing import Any

from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.store.sql.checking import Findings, check
from dispatchd.store.sqlite.connection import connect
from dispatchd.store.sqlite.store import alone

_KEYS = "SELECT coordinator_key FROM chains ORDER BY coordinator_key"


async def inspect(address: str, file: Path | None) -> Findings:
    """What is found in a database file, or at the address of a shared database.

    Raises `Unusable` where it cannot be read.
    """
    try:
        return await (_inspect_shared(address) if file is None else _inspect_file(file))
    except StoreUnavailable as error:
        raise Unusable(str(error)) from None


async def _inspect_file(file: Path) -> Findings:
    with alone(file) as path:
        async with connect(path) as connection:
            return await connection.call(check)


async def _inspect_shared(address: str) -> Findings:
    """The same of every coordinator's chain, and of what they share."""
    module = import_module("dispatchd.store.postgres.connection")  # with the client that it needs
    keys = await _call(module, address, "", lambda db: [key for (key,) in db.execute(_KEYS)])
    found = [await _call(module, address, key, check) for key in keys or [""]]
    return Findings(
        found[-1].jobs,
        sum(each.chained for each in found),
        tuple(dict.fromkeys(fault for each in found for fault in each.faults)),
    )


async def _call(module: Any, address: str, key: str, work: Any) -> Any:
    connection = module.Connection(module.Address(address, key))
    try:
        return await connection.call(work)
    finally:
        await connection.close()
