"""Connects to a coordinator again and again, with growing pauses, for ever."""

import asyncio
import logging
import os
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from dispatchd.core.clock import Clock
from dispatchd.core.errors import Unusable
from dispatchd.core.job import Millis, millis

log = logging.getLogger(__name__)

FRAME_BYTES_MAX = 16 * 1024 * 1024
_PING_SECONDS = 30.0
_PAUSES_SECONDS = (0.5, 1, 2, 4, 8, 15, 30)
_DISPLACED_SECONDS = (60, 120, 240, 480, 900)
_FORGOTTEN_SECONDS = 3600
_WEBSOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def coordinator_url(text: str) -> URL:
    """A coordinator's address as given on the command line; raises `Unusable`."""
    try:
        url = URL(text if "://" in text else f"http://{text}")
    except ValueError:
        url = URL()
    if url.scheme not in _WEBSOCKET or not url.host or any(map(str.isspace, text)):
        raise Unusable(f"--coordinator {text!r} is no address; use e.g. http://192.168.1.20:4010")
    return url


class Dialler:
    """Opens one socket after the other to the same coordinator, or to one of several.

    Where one breaks or cannot be had, the next address is tried. Which comes first is left to
    chance, so that many workers with the same list spread over it.
    """

    def __init__(self, urls: Sequence[URL], clock: Clock) -> None:
        self._urls = deque(urls)
        self._urls.rotate(random.randrange(len(urls)))  # noqa: S311 - no secret
        self._clock = clock
        self._failures = 0
        self._displaced = 0
        self._displaced_at: Millis = 0
        self._give_way = False

    @property
    def host(self) -> str:
        """The `Host` header with which it asks for a socket at the present address."""
        return self._socket_url.host_port_subcomponent or ""

    @property
    def _socket_url(self) -> URL:
        return self._urls[0].with_scheme(_WEBSOCKET[self._urls[0].scheme])

    def settled(self) -> None:
        """The coordinator works with us, so the next pause is a short one again."""
        self._failures = 0

    def displaced(self) -> None:
        """Another process works under our key: the next pause is long, and longer each time.

        An hour without that is enough for it to be short again.
        """
        self._give_way = True

    async def pause(self, reason: str) -> None:
        """Says that there is no connection, and waits before the next try.

        The pauses grow with each round of all addresses.
        """
        seconds = self._seconds()
        log.warning("not connected to %s: %s; next try in %g s", self._urls[0], reason, seconds)
        self._urls.rotate(-1)
        await self._clock.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    def _seconds(self) -> float:
        if self._give_way:
            self._give_way = False
            now = self._clock.now()
            if now - self._displaced_at > millis(_FORGOTTEN_SECONDS):
                self._displaced = 0
            self._displaced_at = now
            self._displaced += 1
            return _DISPLACED_SECONDS[min(self._displaced, len(_DISPLACED_SECONDS)) - 1]
        rounds = self._failures // len(self._urls)
        self._failures += 1
        return _PAUSES_SECONDS[min(rounds, len(_PAUSES_SECONDS) - 1)]

    @asynccontextmanager
    async def socket(
        self, session: aiohttp.ClientSession
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A connected socket, closed at the end. A peer that answers no ping is gone."""
        async with session.ws_connect(
            self._socket_url,
            headers={"Host": self.host},
            max_msg_size=FRAME_BYTES_MAX,
            heartbeat=_PING_SECONDS,
            timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
        ) as socket:
            yield socket


def reason_of(error: Exception) -> str:
    """Why a connection could not be made, in words."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"it answered {error.status}, so it is no coordinator"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number) if number else "it cannot be reached"
    if isinstance(error, asyncio.TimeoutError):
        return "it does not answer"
    return str(error) or type(error).__name__
