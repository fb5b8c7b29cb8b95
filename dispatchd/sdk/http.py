"""HTTP to one coordinator: replies whole, failures typed, repeated only where nothing doubles."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import aiohttp
from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from dispatchd import __version__
from dispatchd.core.address import http_address
from dispatchd.sdk.apikey import checked_key
from dispatchd.sdk.errors import BadReply, InvalidRequest, NetworkFailed, Overloaded, Unreachable
from dispatchd.wire.retry_after import retry_seconds

REPLY_BYTES_MAX = 32 * 1024 * 1024
_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 45.0
_RETRY_AFTER_SECONDS_MAX = 30.0
_TOO_MANY = 429
_TRANSIENT = frozenset({_TOO_MANY, 502, 503, 504})
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_NONE: Mapping[str, str] = MappingProxyType({})

MayRepeat = Callable[[], Awaitable[bool]]


class Pace(Struct, frozen=True):
    """How often the SDK asks, in seconds."""

    retries: tuple[float, ...] = (0.2, 0.5, 1.0)
    """Pauses before a request is sent again."""
    waiting_retries: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0)
    """The same while a job is under way: its coordinator may be starting anew."""
    wait: float = 20.0
    """What `?wait=` asks for."""
    poll: float = 0.5
    """Time between two polls of a coordinator that does not know `?wait=`."""


class Request(Struct, frozen=True):
    """One request; `path` goes behind the coordinator's address."""

    method: str
    path: str
    params: Mapping[str, str] = _NONE
    body: Any = None
    headers: Mapping[str, str] = _NONE

    def __repr__(self) -> str:
        """Without the headers, which may hold a payment, and the body, which may be PRIVATE."""
        return f"<{self.method} {self.path}>"


class Reply(Struct, frozen=True):
    """A reply that has arrived whole.

    `doubted`: the same request was sent before, and may have been acted upon then.
    """

    status: int
    headers: Mapping[str, str]
    text: str
    doubted: bool = False

    @property
    def object(self) -> dict[str, Any]:
        """The JSON object that it holds; raises `BadReply`."""
        try:
            value = json.loads(self.text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise BadReply(f"The coordinator's reply ({self.status}) is no JSON object")
        return value


class Http:
    """Requests to one address on a session that somebody else opens and closes.

    Each shows `api_key`, if there is one; no other address is ever asked, so nobody else sees it.
    """

    def __init__(
        self, base: str, session: aiohttp.ClientSession, api_key: str | None = None
    ) -> None:
        self.base = base_of(base)
        self._session = session
        key = checked_key(api_key)
        self._shown = {"Authorization": f"Bearer {key}"} if key else {}

    async def ask(
        self, request: Request, pauses: tuple[float, ...], may_repeat: MayRepeat | None = None
    ) -> Reply:
        """A reply that is no passing failure; raises `Unreachable` once the pauses are used up.

        `may_repeat` is asked before a request is repeated that may have been acted upon. One
        sending that is uncertain makes the whole failure so.
        """
        doubted = False
        for pause in (*pauses, None):
            try:
                return replace(await self._once(request), doubted=doubted)
            except Unreachable as failure:
                fresh = failure.uncertain
                doubted = failure.uncertain = doubted or fresh
                if pause is None or failure.retry_seconds > _RETRY_AFTER_SECONDS_MAX:
                    raise
                if fresh and may_repeat is not None and not await may_repeat():
                    raise
                await asyncio.sleep(max(pause, failure.retry_seconds))
        raise AssertionError("the last pause is None")

    @asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """A reply whose body is still to come; raises `Unreachable` for a connection that fails."""
        try:
            async with self._session.request(
                request.method,
                URL(self.base + request.path, encoded=True),
                params=dict(request.params),
                json=request.body,
                headers=self._shown | dict(request.headers),
                # A redirected commit would show a PRIVATE job to whoever it is redirected to.
                allow_redirects=False,
            ) as response:
                yield response
        except _NEVER_SENT as error:
            raise self._unreachable(error, uncertain=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error, uncertain=True) from None

    async def _once(self, request: Request) -> Reply:
        async with self.opened(request) as response:
            reply = Reply(response.status, response.headers, await _text(response))
        if reply.status not in _TRANSIENT:
            return reply
        sentence = f"{self.base} answers {reply.status}: {sentence_of(reply)}"
        seconds = retry_seconds(reply.headers.get("Retry-After", ""))
        if reply.status == _TOO_MANY:
            raise Overloaded(sentence, retry_seconds=seconds, hint="Try again later.")
        raise Unreachable(sentence, uncertain=not _uncharged(reply), retry_seconds=seconds)

    def _unreachable(self, error: Exception, *, uncertain: bool) -> NetworkFailed:
        return Unreachable(
            f"No answer from the coordinator at {self.base}: {reason_of(error)}",
            uncertain=uncertain,
            hint="Is it running? `dispatchd run --testnet` starts one on this machine.",
        )


def base_of(text: str) -> str:
    """A coordinator's address in the form that paths are added to; raises `InvalidRequest`."""
    address = http_address(text if "://" in text else f"http://{text}")
    if address is None:
        raise InvalidRequest(
            f"{text!r} is no coordinator's address", hint="Use e.g. http://127.0.0.1:4010."
        )
    return address


def sentence_of(reply: Reply) -> str:
    """What an error reply says, as well as it can be told."""
    try:
        said = reply.object.get("error")
    except BadReply:
        said = reply.text.strip().partition("\n")[0][:200]
    # OpenAI's shape has an object there.
    return str(said.get("message", said) if isinstance(said, dict) else said or "no reason given")


def _uncharged(reply: Reply) -> bool:
    """Whether a failure says that the payment was not taken, and so the job neither."""
    try:
        return reply.object.get("charged") is False
    except BadReply:
        return False


def new_session() -> aiohttp.ClientSession:
    """A session without cookies or a limit on connections: long polls hold them."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"dispatchd/{__version__}"},
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
        ),
    )


async def _text(response: aiohttp.ClientResponse) -> str:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > REPLY_BYTES_MAX:
            raise BadReply(f"The coordinator's reply is longer than {REPLY_BYTES_MAX} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise BadReply("The coordinator's reply is not UTF-8") from None


def reason_of(error: Exception) -> str:
    """Why a connection failed, in the system's words where it has some."""
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
