"""A job for as long as its client listens: it is cancelled when nobody will read its end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from aiohttp import web

from dispatchd.api.connection import Connection
from dispatchd.api.openai_errors import Asks
from dispatchd.api.openai_replies import Result, result_of
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.follow import EndNews, News, Place
from dispatchd.core.clock import Clock
from dispatchd.core.errors import DispatchError, Stopping, StoreUnavailable

_STORE_RETRY_SECONDS = 1.0


class Abandoned:
    """Jobs whose end nobody will read: each is cancelled, as soon as the store allows."""

    def __init__(self, coordinator: Coordinator, clock: Clock) -> None:
        self._coordinator = coordinator
        self._clock = clock
        self._trying: dict[str, asyncio.Task[None]] = {}

    async def cancel(self, job_id: str) -> None:
        """Cancels a job; where the store is away, that is tried again behind the caller's back."""
        if job_id in self._trying or await self._cancelled(job_id):
            return
        if job_id not in self._trying:
            task = asyncio.create_task(self._try_again(job_id))
            self._trying[job_id] = task
            task.add_done_callback(lambda _: self._trying.pop(job_id))

    async def close(self) -> None:
        """Tries no longer."""
        for task in self._trying.values():
            task.cancel()
        await asyncio.gather(*self._trying.values(), return_exceptions=True)

    async def _try_again(self, job_id: str) -> None:
        while True:
            await self._clock.sleep(_STORE_RETRY_SECONDS)
            if await self._cancelled(job_id):
                return

    async def _cancelled(self, job_id: str) -> bool:
        """Whether nothing is left to do; the job may have ended just now."""
        try:
            await self._coordinator.cancel(job_id)
        except StoreUnavailable:
            return False
        except DispatchError:
            pass
        return True


class Hearing:
    """A job and the connection of who listens."""

    def __init__(
        self, coordinator: Coordinator, abandoned: Abandoned, request: web.Request, job_id: str
    ) -> None:
        self._coordinator = coordinator
        self._abandoned = abandoned
        self._request = request
        self._job_id = job_id
        self._ended = False
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._cancel_when_gone())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if not self._ended:
            await self._abandoned.cancel(self._job_id)

    async def news(self, asks: Asks) -> AsyncIterator[News | Result]:
        """The job's life, and at last its result; raises `Refused` where it fails."""
        async for each in self._coordinator.follow(self._job_id, Place()):
            if isinstance(each, EndNews):
                self._ended = True
                yield result_of(each.job, asks)
                return
            yield each
        raise Stopping

    async def _cancel_when_gone(self) -> None:
        connection = self._request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - for the types: app.py makes no other
        await connection.client_gone()
        await self._abandoned.cancel(self._job_id)
