"""What stands before a PostgreSQL server as a pooler does that pools by transaction.

It gives its own numbers to sessions, and lets no notification through.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_NOTIFICATION = b"A"
_SESSION = b"K"
_HEAD_BYTES = 5
_ENDS = (asyncio.IncompleteReadError, ConnectionError)


@asynccontextmanager
async def deaf_proxy(folder: Path) -> AsyncIterator[int]:
    """The port of one before the server whose socket is in that folder."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_unix_connection(folder / ".s.PGSQL.5432")
        ways = [asyncio.create_task(part) for part in (_ask(reader, here), _answer(there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, here):
            each.close()
            with contextlib.suppress(ConnectionError):
                await each.wait_closed()
        await asyncio.gather(*ways)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as proxy:
        yield int(proxy.sockets[0].getsockname()[1])
        await asyncio.gather(*serving)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(*_ENDS):
        while data := await reader.read(65536):
            writer.write(data)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(*_ENDS):
        while True:
            head = await reader.readexactly(_HEAD_BYTES)
            rest = await reader.readexactly(int.from_bytes(head[1:]) - 4)
            if head[:1] == _SESSION:
                rest = bytes(len(rest))
            if head[:1] != _NOTIFICATION:
                writer.write(head + rest)
