"""API keys over HTTP."""

from aiohttp import web

from dispatchd.api.access import Access
from dispatchd.api.body import json_text
from dispatchd.api.errors import guarded, json_response
from dispatchd.api.openai_schema import DEFAULT_USER
from dispatchd.api.schema import UserCreate, decode
from dispatchd.coordinator.users import Users
from dispatchd.core.apikey import operator_text
from dispatchd.core.errors import Invalid, Unauthorized
from dispatchd.core.keys import signature_holds
from dispatchd.core.limits import Limits

_NEVER_KEPT = {"Cache-Control": "no-store"}
_OPERATORS = "A first API key is made by this node's operator: dispatchd keys create --operator-key"


class UserRoutes:
    """The route that makes keys.

    Where not everybody may, the operator does, with a signature by the coordinator's key.
    """

    def __init__(self, users: Users, access: Access, coordinator_key: str, limits: Limits) -> None:
        self._users = users
        self._access = access
        self._coordinator_key = coordinator_key
        self._limits = limits

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the route."""
        router.add_post("/v1/users", guarded(self._create))

    async def _create(self, request: web.Request) -> web.Response:
        wanted = decode(await json_text(request, self._limits), UserCreate)
        if wanted.user_id == DEFAULT_USER:
            raise Invalid(f"user_id {DEFAULT_USER} is everybody who names nobody; use another")
        caller = self._access.caller(request)
        operator = self._is_operator(wanted)
        if not (self._access.open or operator or self._users.protected(wanted.user_id)):
            raise Unauthorized(_OPERATORS)
        address = None if operator else request.remote or ""
        key = await self._users.make_key(wanted.user_id, caller, address)
        return json_response({"user_id": wanted.user_id, "api_key": key}, 201, _NEVER_KEPT)

    def _is_operator(self, wanted: UserCreate) -> bool:
        signature = wanted.operator_signature
        if signature is None:
            return False
        text = operator_text(self._coordinator_key, wanted.user_id)
        if not signature_holds(self._coordinator_key, text, signature):
            raise Invalid("operator_signature is not that of this node's coordinator key")
        return True
