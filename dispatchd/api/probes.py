"""What asks whether the process should be restarted (`/livez`) or sent jobs (`/readyz`)."""

from collections.abc import Callable, Mapping
from typing import Literal

from aiohttp import web

from dispatchd.api.errors import NOT_READY, SERVER_CODES, error_body, guarded, json_response
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.errors import RETRY_SECONDS

ModelState = Literal["loading", "ready"]
Models = Callable[[], Mapping[str, ModelState]]
"""The models of the node's own worker, by name."""

_FINE = "ok"


class ProbeRoutes:
    """`/livez` and `/readyz`."""

    def __init__(self, coordinator: Coordinator, models: Models) -> None:
        self._coordinator = coordinator
        self._models = models

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/livez", guarded(self._live))
        router.add_get("/readyz", guarded(self._ready))

    async def _live(self, _: web.Request) -> web.Response:
        """That it can be answered at all is the answer."""
        return json_response({"status": "live"})

    async def _ready(self, _: web.Request) -> web.Response:
        """Jobs wait for a model that is still loading, so it does not keep the node from work."""
        checks = await self._coordinator.checks()
        failing = [name for name, problem in checks.items() if problem is not None]
        shown: dict[str, object] = {
            "checks": {name: problem or _FINE for name, problem in checks.items()},
            "models": dict(self._models()),
        }
        if not failing:
            return json_response({"status": "ready"} | shown)
        body = error_body(f"Not ready: {', '.join(failing)}", NOT_READY)
        status = SERVER_CODES[NOT_READY][0]
        headers = {"Retry-After": f"{RETRY_SECONDS:.0f}"}
        return json_response(body | {"failing": failing} | shown, status, headers)


def no_models() -> Mapping[str, ModelState]:
    """Where the node has no worker of its own."""
    return {}
