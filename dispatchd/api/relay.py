"""Reads what another coordinator alone has: of a job its text, proof and steps, and its counts."""

import logging
from collections.abc import AsyncIterator
from typing import TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from dispatchd.coordinator.life import Step
from dispatchd.coordinator.series import Counts
from dispatchd.core.chain import Bundle
from dispatchd.wire.events import EventTooLong, events_of

log = logging.getLogger(__name__)

TICKET = "Dispatchd-Ticket"
"""The header by which coordinators over one store know one another."""
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=60)
_BUNDLE_TIMEOUT = aiohttp.ClientTimeout(total=10)
_GLANCE_TIMEOUT = aiohttp.ClientTimeout(total=1.5)
"""Whoever looks at the network waits for this, and sees what is known without it."""

_T = TypeVar("_T")

_TROUBLE = (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError)


class _Delta(Struct):
    delta: str


class HttpRelay:
    """`Relay` over HTTP."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def text(self, url: str, job_id: str, place: str, ticket: str) -> AsyncIterator[str]:
        """The text behind a place, as it comes, until the attempt or the connection ends."""
        headers = {TICKET: ticket, "Last-Event-ID": place}
        address = f"{url}/v1/jobs/{job_id}/events"
        try:
            async with self._session.get(address, headers=headers, timeout=_TIMEOUT) as reply:
                if reply.status != 200:
                    return
                async for event in events_of(reply.content.iter_any()):
                    if event.kind == "delta":
                        yield msgspec.json.decode(event.data, type=_Delta).delta
                    elif event.kind != "status" or '"pending"' in event.data:
                        return
        except (*_TROUBLE, EventTooLong):
            log.info("the live text of job %s ends: its coordinator cannot be read", job_id)

    async def bundle(self, url: str, job_id: str, ticket: str) -> Bundle | None:
        """The proof of a job's result; None where it cannot be had at the moment."""
        return await self._read(f"{url}/v1/receipts/{job_id}", ticket, _BUNDLE_TIMEOUT, Bundle)

    async def steps(self, url: str, job_id: str, ticket: str) -> list[Step]:
        """What it has seen of a job; nothing where it cannot be asked at the moment."""
        address = f"{url}/v1/jobs/{job_id}/timeline"
        return await self._read(address, ticket, _GLANCE_TIMEOUT, list[Step]) or []

    async def counts(self, url: str, since: int, ticket: str) -> Counts | None:
        """What it has counted; None where it cannot be asked at the moment."""
        return await self._read(f"{url}/v1/network?since={since}", ticket, _GLANCE_TIMEOUT, Counts)

    async def _read(
        self, address: str, ticket: str, timeout: aiohttp.ClientTimeout, kind: type[_T]
    ) -> _T | None:
        headers = {TICKET: ticket}
        try:
            async with self._session.get(address, headers=headers, timeout=timeout) as reply:
                if reply.status != 200:
                    return None
                return msgspec.json.decode(await reply.read(), type=kind)
        except _TROUBLE:
            log.debug("another coordinator cannot be read at %s", address)
            return None
