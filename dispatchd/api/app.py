"""The HTTP application of one network: all routes behind one error edge."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web

from dispatchd.api.errors import errors_as_json
from dispatchd.api.jobs import JobRoutes
from dispatchd.api.status import StatusRoutes
from dispatchd.api.trust import TrustRoutes
from dispatchd.api.workers import WorkerRoutes
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.work import Work
from dispatchd.core.clock import Clock
from dispatchd.core.errors import Unusable
from dispatchd.core.limits import Limits
from dispatchd.core.network import Network

_SHUTDOWN_SECONDS = 3.0


class Routes(Protocol):
    """A group of routes."""

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        ...


def build_app(
    coordinator: Coordinator, work: Work, network: Network, clock: Clock, limits: Limits
) -> web.Application:
    """The application; what it serves is all in its arguments."""
    app = web.Application(middlewares=[errors_as_json], client_max_size=limits.body_bytes_max)
    status = StatusRoutes(coordinator, network, clock)
    workers = WorkerRoutes(work, clock, limits)
    groups: Iterable[Routes] = (JobRoutes(coordinator, network), TrustRoutes(coordinator), status)
    for routes in groups:
        routes.add_to(app.router)

    async def root(request: web.Request) -> web.StreamResponse:
        if web.WebSocketResponse().can_prepare(request):
            return await workers.serve(request)
        return status.introduction()

    app.router.add_get("/", root)
    app.on_shutdown.append(lambda _: workers.close())
    return app


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serves the application on a port, 0 meaning any; yields the port that it got.

    Raises `Unusable` where the port cannot be had.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await _start(runner, host, port)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _start(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unusable(
            f"Cannot listen on {host}:{port}: {reason}."
            " Stop what uses that port, or choose another with --port."
        ) from None
