"""The API's description: the OpenAPI document, and the same as a page."""

import msgspec
from aiohttp import web

from dispatchd.api.docs_page import POLICY, page
from dispatchd.api.errors import guarded, raw_response
from dispatchd.api.openapi import document
from dispatchd.core.network import Network


class DocsRoutes:
    """`/openapi.json` and `/docs`."""

    def __init__(self, network: Network) -> None:
        described = document(network)
        self._document = msgspec.json.encode(described)
        self._page = page(described).encode()

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/openapi.json", guarded(self._openapi))
        router.add_get("/docs", guarded(self._docs))

    async def _openapi(self, _: web.Request) -> web.Response:
        return raw_response(self._document, headers={"Access-Control-Allow-Origin": "*"})

    async def _docs(self, _: web.Request) -> web.Response:
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return web.Response(body=self._page, headers=headers)
