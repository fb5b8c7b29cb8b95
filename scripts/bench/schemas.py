"""Parts of a PostgreSQL database for one measurement each, with what is to be there before."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg

_NUMBERS = count(1)


@contextmanager
def schema(database: str, history: Path | None) -> Iterator[str]:
    """The address of a part of a database that is dropped at the end of the block.

    It is empty, or has what was moved there from the store in a file.
    """
    name = f"bench_{next(_NUMBERS)}"
    asyncio.run(_execute(database, f"DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}"))
    address = f"{database}{'&' if '?' in database else '?'}search_path={name}"
    try:
        if history is not None:
            moving = ("store", "migrate", "--from", f"sqlite:{history}", "--to", address)
            command = [sys.executable, "-m", "dispatchd", *moving]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            asyncio.run(_execute(address, "ANALYZE"))
        yield address
    finally:
        asyncio.run(_execute(database, f"DROP SCHEMA {name} CASCADE"))


async def _execute(address: str, sql: str) -> None:
    connection = await asyncpg.connect(address)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
