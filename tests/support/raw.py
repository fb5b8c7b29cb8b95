"""Connections byte by byte, for peers that do not keep to any protocol."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE_SECONDS = 10.0
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TEXT = 0x1


@dataclass
class Raw:
    """A TCP connection to a node."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self, seconds: float = PATIENCE_SECONDS) -> bytes:
        """Everything until the node closes the connection; fails if it does not."""
        with suppress(ConnectionError):
            async with asyncio.timeout(seconds):
                return await self.reader.read()
        return b""

    async def reply(self) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object of the next HTTP reply."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            assert "content-type: application/json" in head, head
            return int(head.split()[1]), json.loads(await self.reader.readexactly(length))

    async def upgrade(self) -> None:
        """Becomes a WebSocket."""
        await self.send(UPGRADE)
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head


def frame(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """A WebSocket frame as clients send it."""
    first = bytes([(0x80 if final else 0) | opcode])
    if len(payload) < 126:
        length = bytes([0x80 | len(payload)])
    elif len(payload) < 65_536:
        length = bytes([0x80 | 126]) + len(payload).to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + len(payload).to_bytes(8, "big")
    return first + length + bytes(4) + payload  # a mask of zeros changes nothing


def garbage(length: int) -> bytes:
    """Bytes of no meaning."""
    return os.urandom(length)


@asynccontextmanager
async def raw(url: str, *, receive_bytes: int | None = None) -> AsyncIterator[Raw]:
    """Connects; with `receive_bytes` the kernel takes only about so much that is not read."""
    parts = urlsplit(url)
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (parts.hostname, parts.port))
    limit = 2**16 if receive_bytes is None else receive_bytes
    reader, writer = await asyncio.open_connection(sock=connection, limit=limit)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
