"""How the node is."""

import msgspec
from aiohttp import web

from dispatchd import __version__
from dispatchd.api.errors import guarded, json_response
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.seats import Seat
from dispatchd.core.clock import Clock, iso
from dispatchd.core.network import Network
from dispatchd.core.record import WorkerRecord


class StatusRoutes:
    """Health, the workers, and an introduction for whoever opens the address in a browser."""

    def __init__(self, coordinator: Coordinator, network: Network, clock: Clock) -> None:
        self._coordinator = coordinator
        self._network = network
        self._clock = clock

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/v1/health", guarded(self._health))
        router.add_get("/v1/workers", guarded(self._workers))

    async def _health(self, _: web.Request) -> web.Response:
        problems = self._coordinator.problems
        health: dict[str, object] = {
            "status": "degraded" if problems else "ok",
            "workers_online": self._coordinator.workers_online,
            "network": self._network.caip2,
            "timestamp": iso(self._clock.now()),
        }
        return json_response(health | ({"problems": problems} if problems else {}))

    async def _workers(self, _: web.Request) -> web.Response:
        workers = await self._coordinator.workers()
        return json_response({"workers": [worker_shown(seat, record) for seat, record in workers]})

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


def worker_shown(seat: Seat, record: WorkerRecord) -> dict[str, object]:
    """A connected worker as everybody may see it: its card, load and record."""
    card = seat.card
    return {
        "provider_pubkey": card.provider_pubkey,
        "provider_type": card.provider_type,
        "capabilities": sorted(card.capabilities),
        "models": list(card.models),
        "max_concurrent_jobs": sum(slots.count for slots in card.slots),
        "active_jobs": len(seat.held),
        "record": msgspec.structs.asdict(record),
    }
