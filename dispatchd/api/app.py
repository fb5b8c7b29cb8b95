"""The HTTP application of one network: all routes behind one error edge."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware
from msgspec import Struct

from dispatchd.api.access import Access, KeyRules
from dispatchd.api.connection import Connection, Guard
from dispatchd.api.docs import DocsRoutes
from dispatchd.api.errors import guarded
from dispatchd.api.gate import Gate, OpenGate
from dispatchd.api.job_view import JobView
from dispatchd.api.jobs import JobRoutes
from dispatchd.api.metrics import MetricsRoutes, MetricsText, no_metrics
from dispatchd.api.network import NetworkRoutes
from dispatchd.api.openai import OpenAiRoutes
from dispatchd.api.page import PageRoutes, wants_html
from dispatchd.api.probes import Models, ProbeRoutes, no_models
from dispatchd.api.receipts import ReceiptRoutes
from dispatchd.api.status import StatusRoutes
from dispatchd.api.stream import StreamRoutes
from dispatchd.api.trust import TrustRoutes
from dispatchd.api.users import UserRoutes
from dispatchd.api.workers import WorkerRoutes
from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.chain import Chain
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.work import Work
from dispatchd.core.clock import Clock
from dispatchd.core.errors import Unusable
from dispatchd.core.limits import Limits
from dispatchd.core.network import Network

_SHUTDOWN_SECONDS = 3.0
_BACKLOG = 1024


class Routes(Protocol):
    """A group of routes."""

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        ...


class Market(Struct, frozen=True):
    """How jobs are sold at an edge: its gate, and routes that only sellers have."""

    gate: Gate = OpenGate()
    routes: tuple[Routes, ...] = ()
    middlewares: tuple[Middleware, ...] = ()
    on_reply: tuple[Callable[[web.Request, web.StreamResponse], Awaitable[None]], ...] = ()


class Instruments(Struct, frozen=True):
    """What operators look at besides the coordinator."""

    metrics: MetricsText = no_metrics
    models: Models = no_models


class Edge:
    """The application of one network; what it serves is all in its arguments."""

    def __init__(
        self,
        coordinator: Coordinator,
        admission: Admission,
        work: Work,
        chain: Chain,
        network: Network,
        clock: Clock,
        limits: Limits,
        market: Market = Market(),  # noqa: B008 - it is frozen
        rules: KeyRules = KeyRules(),  # noqa: B008 - so is it
        public_host: str | None = None,
        instruments: Instruments = Instruments(),  # noqa: B008 - and it
    ) -> None:
        self._limits = limits
        self._status = StatusRoutes(coordinator, network, clock)
        self._workers = WorkerRoutes(admission, work, clock, limits, public_host)
        self._page = PageRoutes()
        view = JobView(coordinator, market.gate)
        access = Access(coordinator, rules)
        openai = OpenAiRoutes(coordinator, view, access, clock, limits, market.gate)
        self._app = web.Application(
            client_max_size=limits.body_bytes_max, middlewares=market.middlewares
        )
        groups: Iterable[Routes] = (
            JobRoutes(coordinator, view, access, network, limits, market.gate),
            StreamRoutes(coordinator, view, access),
            TrustRoutes(coordinator, access, limits),
            ReceiptRoutes(coordinator, chain, access),
            UserRoutes(coordinator.users, access, chain.coordinator_key, limits),
            NetworkRoutes(coordinator, access, network, market.gate, clock),
            self._status,
            ProbeRoutes(coordinator, instruments.models),
            MetricsRoutes(instruments.metrics),
            self._page,
            DocsRoutes(network),
            openai,
            *market.routes,
        )
        for routes in groups:
            routes.add_to(self._app.router)
        self._app.router.add_get("/", guarded(self._root))
        self._app.on_response_prepare.extend(market.on_reply)
        self._app.on_shutdown.append(lambda _: self._workers.close())
        self._app.on_cleanup.append(lambda _: openai.close())

    async def tell_stopping(self) -> None:
        """Lets the workers know that they get no more jobs."""
        await self._workers.tell_stopping()

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Serves on a port, 0 meaning any; yields the port that it got.

        Raises `Unusable` where the port cannot be had.
        """
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101 - for the types: setup has made it
        loop = asyncio.get_running_loop()
        guard = Guard(self._limits)
        make = partial(Connection, server, guard, loop=loop, access_log=None)
        try:
            listener = await _listen(loop, make, host, port)
            try:
                yield listener.sockets[0].getsockname()[1]
            finally:
                listener.close()
        finally:
            await runner.cleanup()

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if web.WebSocketResponse().can_prepare(request):
            return await self._workers.serve(request)
        page = wants_html(request)
        reply = await self._page.page(request) if page else self._status.introduction()
        reply.headers["Vary"] = "Accept"  # two things live at this address
        return reply


async def _listen(
    loop: asyncio.AbstractEventLoop, make: Callable[[], Connection], host: str, port: int
) -> asyncio.Server:
    try:
        return await loop.create_server(make, host, port, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise Unusable(
            f"Cannot listen on {host}:{port}: {reason}."
            " Stop what uses that port, or choose another with --port."
        ) from None
