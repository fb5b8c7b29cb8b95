"""HTTP to one backend. Every request has a connection of its own, whose end stops the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager, closing
from typing import Any, TypeVar

import aiohttp
import msgspec

from dispatchd import __version__
from dispatchd.wire.retry_after import retry_seconds
from dispatchd.worker.backend.address import BackendAddress
from dispatchd.worker.backend.failure import (
    BackendFailed,
    ErrorObject,
    Trouble,
    error_in,
    failure_of,
)
from dispatchd.worker.backend.models import ListedModel, ModelList
from dispatchd.worker.dial import reason_of

_T = TypeVar("_T")

_CONNECT_SECONDS = 5.0
_LIST_SECONDS = 10.0
_LIST_BYTES_MAX = 4 * 1024 * 1024
_ERROR_BYTES_MAX = 64 * 1024
_OK = 200
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Reply:
    """A stream under way."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def more(self, seconds: float) -> bytes:
        """The bytes that have come, none at the end; raises `BackendFailed`."""
        return await _in_time(self._response.content.readany(), seconds)

    def close(self) -> None:
        """Ends the connection at once, which is how servers of this kind are told to stop."""
        self._response.close()


class Server:
    """A backend at an address, on a session that somebody else opens and closes."""

    def __init__(self, address: BackendAddress, session: aiohttp.ClientSession) -> None:
        self.url = address.url
        self._session = session

    async def models(self) -> list[ListedModel]:
        """The models that it lists; raises `BackendFailed`."""
        with closing(await self._sent("GET", "models", None, _LIST_SECONDS)) as response:
            if response.status != _OK:
                raise await _refusal(response, ())
            body = await _in_time(_beginning(response, _LIST_BYTES_MAX), _LIST_SECONDS)
        try:
            return msgspec.json.decode(body, type=ModelList).data or []
        except (ValueError, RecursionError):
            raise BackendFailed(Trouble.REJECTED, "its list of models cannot be read") from None

    async def ask(self, body: dict[str, Any], seconds: float) -> Reply:
        """A stream in answer to a chat completion; raises `BackendFailed`."""
        response = await self._sent("POST", "chat/completions", body, seconds)
        if response.status == _OK and response.content_type == "text/event-stream":
            return Reply(response)
        with closing(response):
            raise await _refusal(response, body)

    async def _sent(
        self, method: str, path: str, body: object, seconds: float
    ) -> aiohttp.ClientResponse:
        # What is redirected would be a prompt and a key.
        request = self._session.request(
            method, f"{self.url}/{path}", json=body, allow_redirects=False
        )
        return await _in_time(request, seconds)


@asynccontextmanager
async def connected(address: BackendAddress) -> AsyncIterator[Server]:
    """A server, which is not asked anything yet."""
    key = {"Authorization": f"Bearer {address.key}"} if address.key else {}
    async with aiohttp.ClientSession(
        # A connection that is kept may be closed by the server just when it is used again.
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"dispatchd/{__version__}"} | key,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
    ) as session:
        yield Server(address, session)


async def _in_time(waiting: Awaitable[_T], seconds: float) -> _T:
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except _NEVER_SENT as error:
        raise BackendFailed(Trouble.AWAY, reason_of(error)) from None
    except TimeoutError:
        raise BackendFailed(Trouble.BROKEN, f"nothing came from it for {seconds:g} s") from None
    except (aiohttp.ClientError, OSError):
        raise BackendFailed(Trouble.BROKEN, "it broke off") from None


async def _refusal(response: aiohttp.ClientResponse, sent: Collection[str]) -> BackendFailed:
    """What a reply means that is no answer; llama.cpp has sent errors with 200."""
    error = error_in(await _in_time(_beginning(response, _ERROR_BYTES_MAX), _LIST_SECONDS))
    if response.status == _OK and error == ErrorObject():
        return BackendFailed(Trouble.BROKEN, "it does not stream")
    status = error.status if response.status == _OK else response.status
    wait = retry_seconds(response.headers.get("Retry-After", ""))
    return failure_of(status, error, sent, retry_seconds=wait)


async def _beginning(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    body = bytearray()
    while len(body) < bytes_max and (chunk := await response.content.readany()):
        body += chunk
    return bytes(body[:bytes_max])
