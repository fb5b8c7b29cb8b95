"""The edge where jobs are sold: payments in headers, the one 402 for everybody, settlements.

Formats: x402, versions 1 and 2 (https://www.x402.org).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
from aiohttp import web

from dispatchd.api.errors import Handler, http_error_body, json_response, raw_response
from dispatchd.api.gate import PaymentKind
from dispatchd.api.openai_errors import JOB_ID_HEADER
from dispatchd.core.errors import PaymentRefused, PaymentRequired
from dispatchd.core.payment import Payment, PaymentState, Settlement
from dispatchd.payment.chains import legacy_name
from dispatchd.payment.codec import (
    PAYMENT_RESPONSE,
    PAYMENT_SIGNATURE,
    X_PAYMENT,
    X_PAYMENT_RESPONSE,
    read_payment,
    response_headers,
)
from dispatchd.payment.offer import (
    NEVER_KEPT,
    PAYMENT_REQUIRED,
    required_body,
    required_header,
)
from dispatchd.payment.payload import PaymentPayload

_PAYMENT_REQUIRED_STATUS = 402
_FIRST_ERROR = 400
_OLD_VERSION = "1"
PAYMENT_STATE = "X-Dispatch-Payment"
_CHARGED: Mapping[str | None, bool] = MappingProxyType(
    {
        PaymentState.CAPTURED: True,
        PaymentState.REFUND_DUE: True,
        PaymentState.RELEASED: False,
        PaymentState.FAILED: False,
    }
)
_ANY_ORIGIN = {"Access-Control-Allow-Origin": "*"}
_EXPOSED = (
    PAYMENT_REQUIRED,
    PAYMENT_RESPONSE,
    X_PAYMENT_RESPONSE,
    PAYMENT_STATE,
    JOB_ID_HEADER,
    "Idempotent-Replay",
    "Retry-After",
)
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": ", ".join(
        (
            *("Content-Type", "Authorization", "Idempotency-Key", "Last-Event-ID"),
            *("X-402-Version", PAYMENT_SIGNATURE, X_PAYMENT),
        )
    ),
    "Access-Control-Max-Age": "86400",
}


class PaidGate:
    """What routes of a node that sells its jobs do besides.

    `legacy_names`: offers of version 1 call networks by x402's older names. `behind_proxy`: what a
    proxy says of the address that the client has used is believed.
    """

    sells = True

    def __init__(
        self, *, simulated: bool, legacy_names: bool = False, behind_proxy: bool = False
    ) -> None:
        self._simulated = simulated
        self.kind = PaymentKind.SIMULATED if simulated else PaymentKind.X402
        self._legacy_names = legacy_names
        self._behind_proxy = behind_proxy

    def payment(self, request: web.Request) -> PaymentPayload | PaymentRefused | None:
        """What came to pay, or why what came is no payment."""
        try:
            return read_payment(request.headers)
        except PaymentRefused as refused:
            return refused

    def before(self, handler: Handler, guard: Callable[[Handler], Handler], what: str) -> Handler:
        """A handler that answers with the offer where a payment is wanted.

        Its errors say whether anything was charged, unless there is a job of which that is not
        known yet.
        """
        guarded = guard(self._selling(handler, what))

        async def serve(request: web.Request) -> web.StreamResponse:
            try:
                response = await guarded(request)
            except web.HTTPRequestEntityTooLarge as error:
                response = json_response(http_error_body(error), error.status)
            if isinstance(response, web.Response) and response.status >= _FIRST_ERROR:
                _say_whether_charged(response)
            return response

        return serve

    def _selling(self, handler: Handler, what: str) -> Handler:
        async def sell(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except PaymentRequired as error:
                return self._demand(request, error, what)

        return sell

    def shown(self, payment: Payment) -> dict[str, object]:
        """A payment as its job shows it."""
        shown: dict[str, object] = {
            "state": payment.state,
            "amount": str(payment.offer.amount),
            "asset": payment.offer.asset,
            "network": payment.key.network,
            "transaction": payment.transaction,
        }
        shown |= {"reason": payment.reason} if payment.reason else {}
        return shown | ({"simulated": True} if self._simulated else {})

    def settled(self, payment: Payment) -> dict[str, str]:
        """The headers that say how the moving of the money ended, where it has ended."""
        state = {PAYMENT_STATE: str(payment.state)}
        if (settlement := payment.settlement) is None:
            return state
        return state | response_headers(settlement, legacy_name(settlement.network))

    @web.middleware
    async def preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers what browsers ask before they send a payment from another site's page."""
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    async def open_to_browsers(self, _: web.Request, response: web.StreamResponse) -> None:
        """Lets pages of other sites read replies: whoever pays may be anybody."""
        response.headers.update(_ANY_ORIGIN)
        response.headers["Access-Control-Expose-Headers"] = ", ".join(_EXPOSED)

    def _demand(
        self, request: web.Request, error: PaymentRequired, description: str
    ) -> web.Response:
        url = self._address_of(request)
        refused = error.refused
        reason = refused.reason if refused else None
        old = self._legacy_names or request.headers.get("X-402-Version") == _OLD_VERSION
        headers = {
            **NEVER_KEPT,
            PAYMENT_REQUIRED: required_header(error.offers, url, description, reason),
        }
        if refused is not None:
            network = error.offers[0].network
            ended = Settlement(
                success=False, network=network, reason=refused.reason, detail=refused.detail
            )
            headers |= response_headers(ended, legacy_name(network))
        body = required_body(
            error.offers,
            url,
            description,
            reason,
            refused.detail if refused else None,
            legacy_names=old,
        )
        return raw_response(body, _PAYMENT_REQUIRED_STATUS, headers)

    def _address_of(self, request: web.Request) -> str:
        scheme, host = request.scheme, request.host
        if self._behind_proxy:
            scheme = _first(request.headers.get("X-Forwarded-Proto")) or scheme
            host = _first(request.headers.get("X-Forwarded-Host")) or host
        return f"{scheme}://{host}{request.path}"


def _first(value: str | None) -> str:
    """What the proxy next to the client has said."""
    return (value or "").partition(",")[0].strip()


def _say_whether_charged(response: web.Response) -> None:
    """Before there is a job nothing is charged; then its payment's state tells, once it ended."""
    state = response.headers.get(PAYMENT_STATE)
    charged = _CHARGED.get(state) if state or JOB_ID_HEADER in response.headers else False
    if charged is None:
        return
    try:
        body = msgspec.json.decode(response.text or "", type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, TypeError):
        return
    response.body = msgspec.json.encode(body | {"charged": charged})
