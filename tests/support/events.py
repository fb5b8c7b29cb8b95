"""Server-sent events as a client reads them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp


async def events(reply: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any, str]]:
    """Each event's name, data and id, until the stream ends."""
    fields: dict[str, str] = {}
    async for line in reply.content:
        text = line.decode().rstrip("\n")
        if text and not text.startswith(":"):
            name, _, value = text.partition(": ")
            fields[name] = (
                f"{fields[name]}\n{value}" if name == "data" and name in fields else value
            )
        elif fields:
            yield fields["event"], json.loads(fields["data"]), fields["id"]
            fields = {}


async def read_all(reply: aiohttp.ClientResponse) -> list[tuple[str, Any, str]]:
    """All events to the end."""
    return [event async for event in events(reply)]
