"""One client's connection: how long its requests may take to arrive, how many it may have.

aiohttp answers what is no HTTP with plain text, and waits for ever for the end of a head.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from dispatchd.api.errors import code_of, error_body, json_response, tell_in_json
from dispatchd.core.limits import Limits


class Guard:
    """What all connections of a server share: their number by address, and the limits."""

    def __init__(self, limits: Limits) -> None:
        self.header_seconds = limits.header_seconds
        self._most = limits.connections_per_address_max
        self._by_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Counts a connection; false where the address has too many."""
        self._by_address[address] += 1
        return self._by_address[address] <= self._most

    def release(self, address: str) -> None:
        """A connection has gone."""
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]


class Connection(RequestHandler):
    """aiohttp's connection under a guard, with errors in JSON."""

    __slots__ = ("_address", "_gone", "_guard", "_head_timer")

    def __init__(self, manager: web.Server, guard: Guard, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._guard = guard
        self._address = ""
        self._head_timer: asyncio.TimerHandle | None = None
        self._gone: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else ""
        self._expect_head()
        if not self._guard.admit(self._address):
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """A client has gone."""
        self._head_arrived()
        self._guard.release(self._address)
        if self._gone is not None:
            self._gone.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; between two requests they are the beginning of a head."""
        requests = self._request_count
        super().data_received(data)
        if self._request_count > requests:
            self._head_arrived()
        elif self._waiter is not None and self._head_timer is None:
            self._expect_head()

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Sends a reply; a hook of the application would run for every one, and only for some."""
        if isinstance(resp, web.HTTPException):
            tell_in_json(resp)
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP request; the connection is closed after it."""
        self.logger.debug("a connection is refused with %d", status, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a reply is under way already")
        sentence = (message or "Bad request").partition("\n")[0].rstrip(":")
        response = json_response(error_body(sentence, code_of(status)), status)
        response.force_close()
        return response

    async def client_gone(self) -> None:
        """Waits until the client has gone, which aiohttp tells no handler."""
        if self.transport is not None:
            self._gone = asyncio.Event()
            await self._gone.wait()

    def _expect_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(self._guard.header_seconds, self._too_slow)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.force_close()
