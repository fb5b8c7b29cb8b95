"""Pairing users with workers."""

from aiohttp import web

from dispatchd.api.access import Access
from dispatchd.api.body import json_text, parameter
from dispatchd.api.errors import guarded, json_response
from dispatchd.api.schema import TrustClaim, TrustCreate, decode
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.clock import iso
from dispatchd.core.errors import Invalid
from dispatchd.core.keys import signature_holds
from dispatchd.core.limits import Limits
from dispatchd.core.trust import claim_text


class TrustRoutes:
    """The routes under /v1/trust."""

    def __init__(self, coordinator: Coordinator, access: Access, limits: Limits) -> None:
        self._coordinator = coordinator
        self._access = access
        self._limits = limits

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_post("/v1/trust/create", guarded(self._create))
        router.add_post("/v1/trust/claim", guarded(self._claim))
        router.add_get("/v1/trust/list", guarded(self._list))
        router.add_delete("/v1/trust", guarded(self._remove))

    async def _create(self, request: web.Request) -> web.Response:
        wanted = decode(await json_text(request, self._limits), TrustCreate)
        self._access.act_as(request, wanted.user_id)
        code = await self._coordinator.create_code(wanted.user_id)
        return json_response({"pairing_code": code.code, "expires_at": iso(code.expires_at)}, 201)

    async def _claim(self, request: web.Request) -> web.Response:
        claim = decode(await json_text(request, self._limits), TrustClaim)
        key = claim.provider_pubkey.lower()
        if claim.signature is not None and not signature_holds(
            key, claim_text(claim.pairing_code, key), claim.signature
        ):
            raise Invalid("signature is not that of provider_pubkey over this claim")
        pairing = await self._coordinator.claim_code(claim.pairing_code, key, request.remote or "")
        return json_response({"user_id": pairing.user_id, "paired_at": iso(pairing.paired_at)})

    async def _list(self, request: web.Request) -> web.Response:
        user_id = _given(request, "user_id")
        self._access.act_as(request, user_id)
        pairings = await self._coordinator.pairings_of(user_id)
        providers = [
            {"provider_pubkey": pairing.provider_pubkey, "paired_at": iso(pairing.paired_at)}
            for pairing in pairings
        ]
        return json_response({"providers": providers})

    async def _remove(self, request: web.Request) -> web.Response:
        user_id, key = _given(request, "user_id"), _given(request, "provider_pubkey").lower()
        self._access.act_as(request, user_id)
        await self._coordinator.unpair(user_id, key)
        return json_response({"user_id": user_id, "provider_pubkey": key})


def _given(request: web.Request, name: str) -> str:
    """A query parameter; raises `Invalid` where it is not there."""
    value = parameter(request, name)
    if not value:
        raise Invalid(f"{name} is missing")
    return value
