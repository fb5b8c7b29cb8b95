"""Keeps jobs from a backend that is away, since each would fail there at once, one by one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from dispatchd.core.clock import Clock
from dispatchd.core.job import Millis, millis
from dispatchd.worker.backend.failure import BackendFailed

log = logging.getLogger(__name__)

_PAUSE = millis(1)

Look = Callable[[], Awaitable[None]]
"""Raises `BackendFailed` while the backend cannot be used."""


class Gate:
    """Shut from a failure on until a look at the backend shows that it can be used again."""

    def __init__(self, look: Look, clock: Clock, wait_seconds: float) -> None:
        self._look = look
        self._clock = clock
        self._wait = millis(wait_seconds)
        self._failure: BackendFailed | None = None
        self._look_at: Millis = 0
        self._opened = asyncio.Event()

    def shut(self, failure: BackendFailed) -> None:
        """From here on jobs wait."""
        if self._failure is None:
            log.warning("the backend cannot be used, jobs wait for it: %s", failure.reason)
        self._failure = failure
        self._opened.clear()
        self._look_at = self._clock.now() + _PAUSE

    async def passed(self) -> None:
        """Waits until the backend can be used; raises its failure where that takes too long."""
        until = self._clock.now() + self._wait
        while (failure := self._failure) is not None:
            now = self._clock.now()
            if now >= self._look_at:
                await self._try(now)
            elif now >= until:
                raise failure
            else:
                seconds = (min(self._look_at, until) - now) / 1000
                await self._clock.wait(self._opened, seconds)

    async def _try(self, now: Millis) -> None:
        """Whoever comes first looks; the others wait for what is found."""
        self._look_at = now + _PAUSE
        try:
            await self._look()
        except BackendFailed as failure:
            self._failure = failure
            return
        log.info("the backend can be used again")
        self._failure = None
        self._opened.set()
