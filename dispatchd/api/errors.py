"""Every error leaves as JSON with an `error` sentence; one table says with which status."""

import json
import logging
from collections.abc import Awaitable, Callable
from types import MappingProxyType

from aiohttp import web

from dispatchd.core.errors import (
    BadReceipt,
    DispatchError,
    ExecutionFailed,
    Invalid,
    LeaseLost,
    NotFound,
    NoTrustedWorker,
    PairingRefused,
    StoreUnavailable,
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
        LeaseLost.code: 409,
        UnsupportedMediaType.code: 415,
        NoTrustedWorker.code: 422,
        ExecutionFailed.code: 500,
        Unusable.code: 500,
        StoreUnavailable.code: 503,
    }
)
_RETRY_SECONDS = 5
_SENTENCES = MappingProxyType({404: "Not found", 413: "The body is too large"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(
    value: dict[str, object], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A reply in JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        text=text, status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The edge at which every error becomes a reply."""
    try:
        return await handler(request)
    except DispatchError as error:
        return _reply(error)
    except web.HTTPException as error:
        return _http_reply(error)
    except Exception:
        log.exception("%s %s broke", request.method, request.path)
        return json_response({"error": "Internal error; the node's log says more"}, 500)


def _reply(error: DispatchError) -> web.Response:
    body: dict[str, object] = {"error": str(error)}
    if isinstance(error, NoTrustedWorker):
        body["job_id"] = error.job_id
    headers = {"Retry-After": str(_RETRY_SECONDS)} if error.code == StoreUnavailable.code else None
    return json_response(body, STATUS[error.code], headers)


def _http_reply(error: web.HTTPException) -> web.Response:
    """Aiohttp's own errors: unknown routes, wrong methods, bodies that are too large."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        sentence = f"Method {error.method} is not allowed here. Use {allowed}"
        return json_response({"error": sentence}, 405, {"Allow": allowed})
    return json_response({"error": _SENTENCES.get(error.status, error.reason)}, error.status)
