"""`/metrics`: what Prometheus reads. As open as `/v1/health`, since nothing there is secret."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from dispatchd.api.errors import guarded

MetricsText = Callable[[str], Awaitable[tuple[str, bytes]]]
"""From an `Accept` header to a content type and a text in it."""


class MetricsRoutes:
    """The one route."""

    def __init__(self, text: MetricsText) -> None:
        self._text = text

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers it."""
        router.add_get("/metrics", guarded(self._metrics))

    async def _metrics(self, request: web.Request) -> web.Response:
        kind, text = await self._text(request.headers.get("Accept", ""))
        return web.Response(body=text, headers={"Content-Type": kind, "Cache-Control": "no-store"})


async def no_metrics(_: str) -> tuple[str, bytes]:
    """The text where nothing is measured."""
    return "text/plain; version=0.0.4; charset=utf-8", b""
