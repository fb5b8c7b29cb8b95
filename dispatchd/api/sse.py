"""Sends server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import MappingProxyType

from aiohttp import web

_SLOW_SECONDS = 10.0
_HEADERS = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }
)
KEEP_ALIVE = ": still here\n\n"
"""A comment, which readers skip; it shows proxies and clients that the connection lives."""


async def send_events(
    request: web.Request,
    events: AsyncGenerator[str],
    headers: Mapping[str, str] = MappingProxyType({}),
) -> web.StreamResponse:
    """Sends events as they come. A reader that is too slow is dropped, and may come back.

    The headers go with the first event, so that what is raised before it has a status of its own.
    """
    response = web.StreamResponse(headers={**_HEADERS, **headers})
    async with aclosing(events):
        async for event in events:
            try:
                await _write(request, response, event)
            except (TimeoutError, ConnectionError):
                if request.transport is not None:
                    request.transport.abort()
                return response
    return response


async def _write(request: web.Request, response: web.StreamResponse, event: str) -> None:
    if not response.prepared:
        await response.prepare(request)
    async with asyncio.timeout(_SLOW_SECONDS):
        await response.write(event.encode())
