"""How the node is."""

import msgspec
from aiohttp import web

from dispatchd import __version__
from dispatchd.api.body import flag, page_size, parameter
from dispatchd.api.errors import guarded, json_response
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.known import KnownWorker
from dispatchd.core.clock import Clock, iso
from dispatchd.core.network import Network
from dispatchd.core.standing import Grade


class StatusRoutes:
    """Health, the workers, and an introduction for whoever opens the address in a browser."""

    def __init__(self, coordinator: Coordinator, network: Network, clock: Clock) -> None:
        self._coordinator = coordinator
        self._overview = coordinator.overview
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
            "workers_online": self._overview.workers_online,
            "network": self._network.caip2,
            "timestamp": iso(self._clock.now()),
        }
        return json_response(health | ({"problems": problems} if problems else {}))

    async def _workers(self, request: web.Request) -> web.Response:
        after, limit = parameter(request, "after") or "", page_size(request)
        if not flag(request, "all"):
            workers = await self._overview.workers()
            return json_response({"workers": [worker_shown(each) for each in workers]})
        workers = await self._overview.known_workers(after, limit)
        following = workers[-1].key if len(workers) == limit else None
        shown = [worker_shown(each) for each in workers]
        return json_response({"workers": shown, "next": following})

    def introduction(self) -> web.Response:
        """What stands at `/` for those who do not come as workers."""
        return json_response(
            {
                "service": "dispatchd",
                "version": __version__,
                "network": self._network.caip2,
                "workers_online": self._overview.workers_online,
                "try": "/v1/quote?job_type=LLM_INFER&policy=AUTO",
            }
        )


def worker_shown(worker: KnownWorker) -> dict[str, object]:
    """A worker as everybody may see it: its standing and record, and while online its card."""
    suspended = worker.grade is Grade.SUSPENDED
    until = worker.standing.strikes.suspended_until
    return {
        "provider_pubkey": worker.key,
        "online": worker.place is not None,
        **_while_online(worker),
        "standing": worker.grade,
        "suspended_until": iso(until) if suspended else None,
        "record": msgspec.structs.asdict(worker.standing.record),
    }


def _while_online(worker: KnownWorker) -> dict[str, object]:
    if worker.place is None:
        return {}
    card = worker.place.card
    return {
        "provider_type": card.provider_type,
        "capabilities": sorted(card.capabilities),
        "models": list(card.models),
        "device": card.device,
        "max_concurrent_jobs": card.places,
        "active_jobs": sum(worker.jobs.values()),
        "proven": worker.place.proven,
    }
