"""The facilitator in the box over HTTP, for any x402 server to test against, and its faucet."""

from collections.abc import Sequence

from aiohttp import web
from msgspec import Struct

from dispatchd.api.body import json_text, parameter
from dispatchd.api.errors import guarded, json_response
from dispatchd.api.schema import decode
from dispatchd.core.errors import Invalid, PaymentRefused
from dispatchd.core.limits import Limits
from dispatchd.payment import Facilitator, Kind, Ledger
from dispatchd.payment.chains import caip2_of, legacy_name
from dispatchd.payment.codec import parse_facilitator_request, settlement_json
from dispatchd.payment.shapes import is_address
from dispatchd.payment.tokens import Token

_ACCOUNTS_MAX = 1000
_DIGITS_MAX = 78
_SIMULATED: dict[str, object] = {"simulated": True}


class FaucetRequest(Struct, frozen=True):
    """Who gets how much, in atomic units; of the first token unless another is named."""

    address: str
    amount: int | str
    network: str | None = None
    asset: str | None = None


class FacilitatorRoutes:
    """The routes under /facilitator; the money they speak of is simulated."""

    def __init__(
        self, facilitator: Facilitator, ledger: Ledger, tokens: Sequence[Token], limits: Limits
    ) -> None:
        self._facilitator = facilitator
        self._ledger = ledger
        self._tokens = tuple(tokens)
        self._limits = limits

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_post("/facilitator/verify", guarded(self._verify))
        router.add_post("/facilitator/settle", guarded(self._settle))
        router.add_get("/facilitator/supported", guarded(self._supported))
        router.add_post("/facilitator/faucet", guarded(self._faucet))
        router.add_get("/facilitator/balances", guarded(self._balances))

    async def _verify(self, request: web.Request) -> web.Response:
        """A refusal is an answer too: published servers read nothing but a 200."""
        text = await json_text(request, self._limits)
        try:
            verdict = await self._facilitator.verify(*parse_facilitator_request(text))
        except PaymentRefused as refused:
            return json_response(_invalid(refused.reason, refused.detail) | _SIMULATED)
        said: dict[str, object] = {"isValid": True}
        if not verdict.valid:
            said = _invalid(verdict.reason, verdict.detail)
        return json_response(said | {"payer": verdict.payer} | _SIMULATED)

    async def _settle(self, request: web.Request) -> web.Response:
        text = await json_text(request, self._limits)
        try:
            payload, offer = parse_facilitator_request(text)
        except PaymentRefused as refused:
            reason = {"errorReason": refused.reason, "errorMessage": refused.detail}
            nothing = {"success": False, "transaction": "", "network": ""}
            return json_response(nothing | reason | _SIMULATED)
        settlement = await self._facilitator.settle(payload, offer)
        return json_response(settlement_json(settlement, payload.network_name) | _SIMULATED)

    async def _supported(self, _: web.Request) -> web.Response:
        kinds = [_kind(kind) for kind in await self._facilitator.supported()]
        return json_response({"kinds": kinds, "extensions": [], "signers": {}} | _SIMULATED)

    async def _faucet(self, request: web.Request) -> web.Response:
        wanted = decode(await json_text(request, self._limits), FaucetRequest)
        token = self._token(wanted.network, wanted.asset)
        amount = _atomic(wanted.amount)
        if not is_address(wanted.address):
            raise Invalid("address must be 0x and 40 hex digits")
        balance = await self._ledger.fund(token.id, wanted.address, amount)
        account = {"address": wanted.address, "amount": str(amount), "balance": str(balance)}
        return json_response(account | _named(token) | _SIMULATED)

    async def _balances(self, request: web.Request) -> web.Response:
        token = self._token(parameter(request, "network"), parameter(request, "asset"))
        address = parameter(request, "address")
        if address is None:
            found = await self._ledger.accounts(token.id, _ACCOUNTS_MAX)
        elif is_address(address):
            found = [(address, await self._ledger.balance(token.id, address))]
        else:
            raise Invalid("address must be 0x and 40 hex digits")
        accounts = [{"address": holder, "balance": str(balance)} for holder, balance in found]
        return json_response({"accounts": accounts} | _named(token) | _SIMULATED)

    def _token(self, network: str | None, asset: str | None) -> Token:
        """The token that is meant; raises `Invalid` where it is not simulated here."""
        wanted = None if network is None else caip2_of(network)
        for token in self._tokens:
            right_network = network is None or token.network == wanted
            if right_network and (asset is None or token.id.address == asset.lower()):
                return token
        raise Invalid("No such token is simulated here; GET /facilitator/supported lists networks")


def _invalid(reason: str | None, detail: str | None) -> dict[str, object]:
    return {"isValid": False, "invalidReason": reason, "invalidMessage": detail}


def _named(token: Token) -> dict[str, object]:
    return {"network": token.network, "asset": token.address}


def _kind(kind: Kind) -> dict[str, object]:
    """A kind as its version of x402 writes it."""
    old = legacy_name(kind.network) if kind.version == 1 else None
    said: dict[str, object] = {"x402Version": kind.version, "scheme": kind.scheme}
    said["network"] = old or kind.network
    return said | ({"extra": kind.extra} if kind.extra else {})


def _atomic(amount: int | str) -> int:
    if isinstance(amount, str):
        plain = amount.isascii() and amount.isdigit() and len(amount) <= _DIGITS_MAX
        amount = int(amount) if plain else 0
    if amount < 1:
        raise Invalid("amount must be a whole number of atomic units, 1 or more")
    return amount
