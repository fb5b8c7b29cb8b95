"""The API's description: the OpenAPI document, and the same as a page."""

import asyncio
from functools import cached_property
from importlib import import_module

import msgspec
from aiohttp import web
from msgspec import Struct

from dispatchd.api.errors import guarded, raw_response
from dispatchd.core.network import Network


class _Described(Struct, frozen=True):
    """What is sent: the document in JSON, and its page with the policy that it needs."""

    document: bytes
    page: bytes
    policy: str


class DocsRoutes:
    """`/openapi.json` and `/docs`, made on a thread when somebody first asks for one of them."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/openapi.json", guarded(self._openapi))
        router.add_get("/docs", guarded(self._docs))

    async def _openapi(self, _: web.Request) -> web.Response:
        described = await self._made()
        headers = {"Access-Control-Allow-Origin": "*"}
        return raw_response(described.document, headers=headers)

    async def _docs(self, _: web.Request) -> web.Response:
        described = await self._made()
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": described.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return web.Response(body=described.page, headers=headers)

    async def _made(self) -> _Described:
        return await asyncio.to_thread(lambda: self._described)

    @cached_property
    def _described(self) -> _Described:
        docs_page = import_module("dispatchd.api.docs_page")  # with all that describes routes
        document = import_module("dispatchd.api.openapi").document(self._network)
        return _Described(
            msgspec.json.encode(document), docs_page.page(document).encode(), docs_page.POLICY
        )
