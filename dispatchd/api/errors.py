"""Every error leaves as JSON: `error`, a sentence, and `code`, which one table maps to a status."""

import logging
import math
from collections.abc import Awaitable, Callable
from types import MappingProxyType

import msgspec
from aiohttp import web

from dispatchd.api.schema import MissingFields
from dispatchd.core.errors import (
    BadReceipt,
    Conflict,
    DispatchError,
    ExecutionFailed,
    FacilitatorAway,
    Invalid,
    LeaseLost,
    NoEligibleWorker,
    NotFound,
    NoTrustedWorker,
    PairingRefused,
    PaymentRefused,
    PaymentRequired,
    Stopping,
    StoreUnavailable,
    TooMany,
    TooManyOpenPayments,
    TooSlow,
    Unauthorized,
    UnsupportedMediaType,
    Unusable,
)
from dispatchd.core.joblog import wordless

log = logging.getLogger(__name__)

STATUS = MappingProxyType(
    {
        Invalid.code: 400,
        PairingRefused.code: 400,
        BadReceipt.code: 400,
        Unauthorized.code: 401,
        PaymentRefused.code: 402,
        PaymentRequired.code: 402,
        NotFound.code: 404,
        TooSlow.code: 408,
        LeaseLost.code: 409,
        Conflict.code: 409,
        UnsupportedMediaType.code: 415,
        NoTrustedWorker.code: 422,
        TooMany.code: 429,
        TooManyOpenPayments.code: 429,
        ExecutionFailed.code: 500,
        Unusable.code: 500,
        StoreUnavailable.code: 503,
        NoEligibleWorker.code: 503,
        FacilitatorAway.code: 503,
        Stopping.code: 503,
    }
)
INTERNAL = "internal"
NOT_READY = "not_ready"
_INTERNAL_STATUS = 500
SERVER_CODES = MappingProxyType(
    {
        INTERNAL: (500, "A bug in the node; its log says more."),
        "bad_request": (400, "What came is no HTTP request that can be read."),
        "not_found": (404, "No such route."),
        "method_not_allowed": (405, "The route is there, but not for this method; see `Allow`."),
        "too_large": (413, "The body is longer than the node takes."),
        NOT_READY: (503, "The node takes no jobs at the moment; `failing` names the checks."),
        "expectation_failed": (417, "An `Expect` header that is not 100-continue."),
    }
)
"""The codes of what fails before a route is reached, or by a bug: status and meaning."""

HINTS = MappingProxyType(
    {
        UnsupportedMediaType.code: "Send JSON in UTF-8 with Content-Type: application/json",
        Unauthorized.code: (
            "Send the user's API key as Authorization: Bearer KEY;"
            " `dispatchd keys create USER` makes one for a user who has none"
        ),
        PairingRefused.code: (
            "Ask for a new code with POST /v1/trust/create; a code works once, for one hour"
        ),
        NoTrustedWorker.code: (
            "Pair a worker with this user: POST /v1/trust/create gives a code that the worker"
            " claims. It must be online and able to do the job; then commit again"
        ),
        TooMany.code: "Wait as long as Retry-After says, then send the same request again",
        StoreUnavailable.code: (
            "Send the same request again after Retry-After; an Idempotency-Key makes that safe"
        ),
        Stopping.code: "Send the request again after Retry-After, or to another node",
        TooManyOpenPayments.code: "Wait until some of the payer's jobs have ended",
        PaymentRequired.code: "Sign one of the offers and send the same request with the payment",
        PaymentRefused.code: "Nothing was charged; correct what `detail` says and sign again",
        FacilitatorAway.code: "Nothing was charged; send the same payment again after Retry-After",
        TooSlow.code: "Send the whole body at once",
        "too_large": "Send a shorter body",
    }
)
"""What the caller can do next, by code."""

_ROUTES_HINT = "GET /docs shows every route, GET /openapi.json describes them"
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
        except Exception as error:
            log.exception("%s %s broke", request.method, request.path, exc_info=wordless(error))
            sentence = "Internal error; the node's log says more"
            return json_response(error_body(sentence, INTERNAL), 500)

    return guard


def tell_in_json(response: web.HTTPException) -> None:
    """Aiohttp's own errors in JSON: unknown routes, wrong methods, bodies that are too large."""
    response.body = msgspec.json.encode(http_error_body(response))
    response.headers.update(_JSON)


def http_error_body(response: web.HTTPException) -> dict[str, object]:
    """What is told of one of aiohttp's own errors."""
    code = code_of(response.status)
    hint = _ROUTES_HINT if response.status == web.HTTPNotFound.status_code else HINTS.get(code)
    detail = response.text if isinstance(response, web.HTTPRequestEntityTooLarge) else None
    return error_body(sentence_of(response), code, detail=detail, hint=hint)


def code_of(status: int) -> str:
    """The code of an error that has nothing but its status."""
    found = (code for code, (each, _) in SERVER_CODES.items() if each == status)
    return next(found, "bad_request" if status < _INTERNAL_STATUS else INTERNAL)


def error_body(
    sentence: str, code: str, *, detail: str | None = None, hint: str | None = None
) -> dict[str, object]:
    """The shape of every error."""
    body: dict[str, object] = {"error": sentence, "code": code}
    return body | ({"detail": detail} if detail else {}) | ({"hint": hint} if hint else {})


def sentence_of(error: web.HTTPException) -> str:
    """What is wrong, for one of aiohttp's own errors."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return f"Method {error.method} is not allowed here. Use {allowed}"
    return _SENTENCES.get(error.status, error.reason)


def _reply(error: DispatchError) -> web.Response:
    detail = error.detail if isinstance(error, MissingFields | PaymentRefused) else None
    body = error_body(str(error), error.code, detail=detail, hint=HINTS.get(error.code))
    if isinstance(error, NoTrustedWorker):
        body["job_id"] = error.job_id
    return json_response(body, STATUS[error.code], headers_of(error))


def headers_of(error: DispatchError) -> dict[str, str] | None:
    """The header that says when to try again, or with what, where that may help."""
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if error.retry_seconds is None:
        return None
    return {"Retry-After": str(max(1, math.ceil(error.retry_seconds)))}
