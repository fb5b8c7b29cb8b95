"""The one clock that every timeout reads, passed in so that tests can move it."""

import asyncio
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from dispatchd.core.job import Millis, millis


class Clock(Protocol):
    """Time for everything that waits; all limits are in seconds, all moments in milliseconds."""

    def now(self) -> Millis:
        """The present moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns once that much time has passed."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Waits for an event for so long at the most; false when time ran out first."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> Millis:
        """Milliseconds since the epoch, by the wall clock: leases outlive a process."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Sleeps on the event loop."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Waits on the event loop's timer."""
        if event.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True


def passed(since: Millis, now: Millis, seconds: float) -> bool:
    """Whether so long has passed since a moment; so it counts where the clock has been set back."""
    return not since <= now < since + millis(seconds)


def iso(moment: Millis) -> str:
    """Prints a moment as the network does: `2026-02-09T12:00:00.000Z`."""
    seconds, millis = divmod(moment, 1000)
    return f"{_to_the_second(seconds)}.{millis:03d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
