"""How late the event loop is."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

_EVERY_SECONDS = 0.5


async def watch_lag(
    told: Callable[[float], None],
    now_seconds: Callable[[], float] = monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Sleeps a while, again and again, and tells how much later than that it woke, in seconds."""
    while True:
        due = now_seconds() + _EVERY_SECONDS
        await sleep(_EVERY_SECONDS)
        told(max(0.0, now_seconds() - due))
