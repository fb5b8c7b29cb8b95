"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools
from typing import Any

from dispatchd.core.job import Millis

START: Millis = 1_770_638_400_000  # 2026-02-09T12:00:00.000Z


class FakeClock:
    """`Clock` for tests: time passes only in `advance`."""

    def __init__(self) -> None:
        self._now: Millis = START
        self._order = itertools.count()
        self._sleepers: list[tuple[Millis, int, asyncio.Future[None]]] = []

    def now(self) -> Millis:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self._over(seconds)

    def _over(self, seconds: float) -> asyncio.Future[None]:
        """Is done when so much time has passed from this very moment."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due = self._now + round(seconds * 1000)
        heapq.heappush(self._sleepers, (due, next(self._order), future))
        return future

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        ringing = asyncio.ensure_future(event.wait())
        sleeping = self._over(seconds)
        try:
            both: set[asyncio.Future[Any]] = {ringing, sleeping}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ringing.cancel()
            sleeping.cancel()
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Moves time on and wakes whoever slept until then."""
        self._now += round(seconds * 1000)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)


class HastyClock(FakeClock):
    """A clock on which whoever sleeps wakes at once, and time has passed by then."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def _over(self, seconds: float) -> asyncio.Future[None]:
        self.slept.append(seconds)
        self._now += round(seconds * 1000)
        return asyncio.ensure_future(asyncio.sleep(0))
