"""Whether a pooler stands before the database that gives connections away amid a session.

A session says for which coordinator it speaks, listens, and holds locks: none of that may be
another's. A pooler that pools by session does no harm.
"""

import asyncio
import secrets
from typing import Any

import asyncpg

from dispatchd.core.errors import Unusable
from dispatchd.store.postgres.connection import Address
from dispatchd.store.postgres.errors import our_errors

_HEARD_SECONDS = 3.0
_PID = "SELECT pg_backend_pid()"
_NOTIFY = "SELECT pg_notify($1, '')"
BY_TRANSACTION = (
    "What one connection notifies is not heard by another that listens: a pooler stands between,"
    " which gives connections away after each transaction."
)
REMEDY = "Name the server itself in --store, or have the pooler pool by session"


async def hears(address: Address) -> bool:
    """Whether what one connection notifies is heard by another that listens.

    Of a connection that is given away, whoever has it then hears it.
    """
    bell, heard = f"dispatchd_probe_{secrets.token_hex(8)}", asyncio.Event()
    listening = await address.connect()
    try:
        with our_errors():
            await listening.add_listener(bell, lambda *_: heard.set())
            notifying = await address.connect()
            try:
                await notifying.execute(_NOTIFY, bell)
            finally:
                notifying.terminate()
        async with asyncio.timeout(_HEARD_SECONDS):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        listening.terminate()
    return True


async def refuse_pooling_by_transaction(
    address: Address, connection: "asyncpg.Connection[Any]"
) -> None:
    """Raises `Unusable` where sessions are not ours alone."""
    if await connection.fetchval(_PID) == connection.get_server_pid():
        return  # it is the server itself that has answered
    if not await hears(address):
        raise Unusable(f"{BY_TRANSACTION} {REMEDY}.")
