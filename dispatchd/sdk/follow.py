"""A job's text as it grows, for as long as its coordinator tells it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from dispatchd.core.job import JobStatus
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errors import Unreachable
from dispatchd.sdk.telling import Telling
from dispatchd.wire.events import Event

_BROKEN_MAX = 5
_PAUSE_SECONDS = 0.5


async def followed(client: CoordinatorClient, job_id: str, telling: Telling) -> AsyncGenerator[str]:
    """Pieces of text until the job ends, or no more can be had: the poll knows the rest.

    Whoever comes late is told the whole text so far, so a connection that breaks is simply
    followed by another one, and `Telling` leaves out what is known.
    """
    broken = 0
    while broken < _BROKEN_MAX:
        told, heard = len(telling.text), False
        telling.again()
        try:
            async with aclosing(client.events(job_id)) as events:
                async for event in events:
                    heard = True
                    if event.kind == "done":
                        return
                    if piece := _piece(event, telling):
                        yield piece
        except Unreachable:
            heard = True
        if not heard:
            return
        broken = 0 if len(telling.text) > told else broken + 1
        await asyncio.sleep(_PAUSE_SECONDS)


def _piece(event: Event, telling: Telling) -> str:
    try:
        value = json.loads(event.data)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(value, dict):
        return ""
    if event.kind == "status" and value.get("status") == JobStatus.PENDING:
        telling.again()
    delta = value.get("delta")
    return telling.add(delta) if event.kind == "delta" and isinstance(delta, str) else ""
