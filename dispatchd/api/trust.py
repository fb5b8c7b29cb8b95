"""Pairing users with workers."""

from aiohttp import web

from dispatchd.api.body import json_text, parameter
from dispatchd.api.errors import guarded, json_response
from dispatchd.api.schema import TrustClaim, TrustCreate, decode
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.clock import iso
from dispatchd.core.errors import Invalid
from dispatchd.core.limits import Limits


class TrustRoutes:
    """The routes under /v1/trust."""

    def __init__(self, coordinator: Coordinator, limits: Limits) -> None:
        self._coordinator = coordinator
        self._limits = limits

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_post("/v1/trust/create", guarded(self._create))
        router.add_post("/v1/trust/claim", guarded(self._claim))
        router.add_get("/v1/trust/list", guarded(self._list))

    async def _create(self, request: web.Request) -> web.Response:
        wanted = decode(await json_text(request, self._limits), TrustCreate)
        code = await self._coordinator.create_code(wanted.user_id)
        return json_response({"pairing_code": code.code, "expires_at": iso(code.expires_at)}, 201)

    async def _claim(self, request: web.Request) -> web.Response:
        claim = decode(await json_text(request, self._limits), TrustClaim)
        pairing = await self._coordinator.claim_code(
            claim.pairing_code, claim.provider_pubkey.lower(), request.remote or ""
        )
        return json_response({"user_id": pairing.user_id, "paired_at": iso(pairing.paired_at)})

    async def _list(self, request: web.Request) -> web.Response:
        user_id = parameter(request, "user_id")
        if not user_id:
            raise Invalid("user_id is missing")
        pairings = await self._coordinator.pairings_of(user_id)
        providers = [
            {"provider_pubkey": pairing.provider_pubkey, "paired_at": iso(pairing.paired_at)}
            for pairing in pairings
        ]
        return json_response({"providers": providers})
