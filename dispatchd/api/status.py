"""How the node is."""

from aiohttp import web

from dispatchd import __version__
from dispatchd.api.errors import json_response
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.clock import Clock, iso
from dispatchd.core.network import Network


class StatusRoutes:
    """Health, and a short introduction for whoever opens the address in a browser."""

    def __init__(self, coordinator: Coordinator, network: Network, clock: Clock) -> None:
        self._coordinator = coordinator
        self._network = network
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/v1/health", self._health)

    async def _health(self, _: web.Request) -> web.Response:
        return json_response(
            {
                "status": "ok",
                "workers_online": self._coordinator.workers_online,
                "network": self._network.caip2,
                "timestamp": iso(self._clock.now()),
            }
        )

    def introduction(self) -> web.Response:
        """What stands at `/` for those who do not come as workers."""
        return json_response(
            {
                "service": "dispatchd",
                "version": __version__,
                "network": self._network.caip2,
                "workers_online": self._coordinator.workers_online,
                "try": "/v1/quote?job_type=LLM_INFER&policy=AUTO",
            }
        )
