"""Receipts that stand on their own: the chain, its root, and the proof of one result."""

import msgspec
from aiohttp import web

from dispatchd.api.access import Access
from dispatchd.api.body import page_size, whole_number
from dispatchd.api.errors import guarded, raw_response
from dispatchd.api.relay import TICKET
from dispatchd.coordinator.chain import Chain
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.chain import SEQUENCE_MAX
from dispatchd.core.errors import NotFound


class ReceiptRoutes:
    """The routes under /v1/receipts."""

    def __init__(self, coordinator: Coordinator, chain: Chain, access: Access) -> None:
        self._coordinator = coordinator
        self._access = access
        self._chain = chain

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/v1/receipts", guarded(self._page))
        router.add_get("/v1/receipts/root", guarded(self._root))
        router.add_get("/v1/receipts/{job_id}", guarded(self._bundle))

    async def _page(self, request: web.Request) -> web.Response:
        after = whole_number(request, "after", 0, SEQUENCE_MAX, default=0)
        return _reply(await self._chain.page(after, page_size(request)))

    async def _root(self, _: web.Request) -> web.Response:
        return _reply(await self._chain.root())

    async def _bundle(self, request: web.Request) -> web.Response:
        job = await self._coordinator.get(request.match_info["job_id"].lower())
        if self._coordinator.is_neighbour(job.id, request.headers.get(TICKET, "")):
            return _reply(await self._chain.bundle(job))
        self._access.read(request, job)
        try:
            return _reply(await self._chain.bundle(job))
        except NotFound:
            bundle = await self._coordinator.bundle_elsewhere(job)
            if bundle is None:
                raise
            return _reply(bundle)


def _reply(value: msgspec.Struct) -> web.Response:
    return raw_response(msgspec.json.encode(value))
