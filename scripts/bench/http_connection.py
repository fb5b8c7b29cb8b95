"""The cheapest HTTP client that does: one keep-alive connection, one request at a time."""

import asyncio
from typing import Self, cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_STATUS_AT = slice(9, 12)


class HttpConnection(asyncio.Protocol):
    """Exchanges requests, given as bytes, for replies whose length their head announces."""

    def __init__(self) -> None:
        self._buffer = b""
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connects over loopback."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the reply; raises `ConnectionError`."""
        if self._transport is None:
            raise ConnectionResetError("the server closed a client's connection")
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Some of a reply has come."""
        self._buffer += data
        head_end = self._buffer.find(_HEAD_END)
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        body_at = head_end + len(_HEAD_END)
        end = body_at + int(head.partition(_LENGTH)[2].split(b"\r\n", 1)[0])
        if len(self._buffer) < end:
            return
        status, body = int(head[_STATUS_AT]), self._buffer[body_at:end]
        self._buffer = self._buffer[end:]
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server hung up, or we did."""
        self._transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(exc or ConnectionResetError("closed before the reply"))
