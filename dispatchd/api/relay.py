"""Reads what another coordinator alone has of a job: its live text, or its place in a chain."""

import logging
from collections.abc import AsyncIterator

import aiohttp
import msgspec
from msgspec import Struct

from dispatchd.core.chain import Bundle
from dispatchd.wire.events import EventTooLong, events_of

log = logging.getLogger(__name__)

TICKET = "Dispatchd-Ticket"
"""The header by which coordinators over one store know one another."""
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=60)
_BUNDLE_TIMEOUT = aiohttp.ClientTimeout(total=10)


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
        address = f"{url}/v1/receipts/{job_id}"
        try:
            async with self._session.get(
                address, headers={TICKET: ticket}, timeout=_BUNDLE_TIMEOUT
            ) as reply:
                if reply.status != 200:
                    return None
                return msgspec.json.decode(await reply.read(), type=Bundle)
        except _TROUBLE:
            log.info("the receipt of job %s cannot be read at its coordinator", job_id)
            return None
