"""Every error leaves as JSON with an `error` sentence; one table says with which status."""

import logging
import math
from collections.abc import Awaitable, Callable
from types import MappingProxyType

import msgspec
from aiohttp import web

from dispatchd.core.errors import (
    BadReceipt,
    Conflict,
    DispatchError,
    ExecutionFailed,
    Invalid,
    LeaseLost,
    NotFound,
    NoTrustedWorker,
    PairingRefused,
    Stopping,
    StoreUnavailable,
    TooMany,
    TooSlow,
    UnsupportedMediaType,
    Unusable,
)

log = logging.getLogger(__name__)

STATUS = MappingProxyType(
    {
        Invalid.code: 400,
        PairingRefused.code: 400,
        BadReceipt.code: 400,
        NotFound.code: 404,
        TooSlow.code: 408,
        LeaseLost.code: 409,
        Conflict.code: 409,
        UnsupportedMediaType.code: 415,
        NoTrustedWorker.code: 422,
        TooMany.code: 429,
        ExecutionFailed.code: 500,
        Unusable.code: 500,
        StoreUnavailable.code: 503,
        Stopping.code: 503,
    }
)
_RETRY_SECONDS = 5
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_SENTENCES = MappingProxyType(
    {
        404: "Not found",
        413: "The body is too large",
        417: "Use Expect: 100-continue or no Expect at all",
    }
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(
    value: dict[str, object], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A reply in JSON."""
    return raw_response(msgspec.json.encode(value), status, headers)


def raw_response(
    body: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A reply whose JSON text is there already."""
    return web.Response(body=body, status=status, headers=_JSON | (headers or {}))


def guarded(handler: Handler) -> Handler:
    """A handler whose errors all become replies."""

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except DispatchError as error:
            return _reply(error)
        except web.HTTPException:
            raise  # aiohttp's own errors become JSON when they are sent
        except Exception:
            log.exception("%s %s broke", request.method, request.path)
            return json_response({"error": "Internal error; the node's log says more"}, 500)

    return guard


async def errors_as_json(_: web.Request, response: web.StreamResponse) -> None:
    """Aiohttp's own errors as JSON: unknown routes, wrong methods, bodies that are too large."""
    if not isinstance(response, web.HTTPException):
        return
    body = msgspec.json.encode({"error": _sentence(response)})
    response.body = body
    response.headers.update(_JSON | {"Content-Length": str(len(body))})


def _sentence(error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return f"Method {error.method} is not allowed here. Use {allowed}"
    return _SENTENCES.get(error.status, error.reason)


def _reply(error: DispatchError) -> web.Response:
    body: dict[str, object] = {"error": str(error)}
    if isinstance(error, NoTrustedWorker):
        body["job_id"] = error.job_id
    return json_response(body, STATUS[error.code], _retry_after(error))


def _retry_after(error: DispatchError) -> dict[str, str] | None:
    if isinstance(error, TooMany):
        return {"Retry-After": str(max(1, math.ceil(error.retry_seconds)))}
    if isinstance(error, StoreUnavailable | Stopping):
        return {"Retry-After": str(_RETRY_SECONDS)}
    return None
