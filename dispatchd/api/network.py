"""The network at a glance: now, the last minutes, the workers and the latest jobs; live as well.

Watchers share what is made for them: a new frame is made every `_FRAME_SECONDS` at the most, and
printed once for all who have seen the same before. A slow watcher gets the newest state, never a
backlog.
"""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
from aiohttp import web
from msgspec import Struct

from dispatchd import __version__
from dispatchd.api.access import Access
from dispatchd.api.body import whole_number
from dispatchd.api.errors import guarded, json_response, raw_response
from dispatchd.api.gate import Gate
from dispatchd.api.relay import TICKET
from dispatchd.api.sse import KEEP_ALIVE, send_events
from dispatchd.api.status import worker_shown
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.life import Life, Step
from dispatchd.coordinator.overview import Numbers
from dispatchd.coordinator.recent import Recent
from dispatchd.core.clock import Clock, iso, passed
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import Millis
from dispatchd.core.neighbour import NETWORK
from dispatchd.core.network import Network

_FRAME_SECONDS = 0.25
_QUIET_SECONDS = 15.0
_JOBS_MAX = 50
_WORKERS_MAX = 200
_BUCKET_MAX = 2**53
_NOTHING = -1
"""The version that a watcher has seen who has seen nothing."""


class Frame(Struct):
    """The network at one moment, and what was printed of it, by what its reader had seen before."""

    version: int
    at: Millis
    now: Numbers
    printed: dict[tuple[int, str | None], bytes]


class Crowd:
    """The workers that are shown, each with the version in which it last looked different."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._shown: dict[str, tuple[bytes, int]] = {}
        self._changed = _NOTHING

    def update(self, workers: list[dict[str, object]]) -> None:
        """The workers as they are now; watchers are told where that is news."""
        texts = {str(worker["provider_pubkey"]): msgspec.json.encode(worker) for worker in workers}
        if texts == {key: text for key, (text, _) in self._shown.items()}:
            return
        self._recent.crowd_changed()
        version = self._recent.version
        if texts.keys() != self._shown.keys():
            self._changed = version
        former, self._shown = self._shown, {}
        for key, text in texts.items():
            known = former.get(key)
            same = known is not None and known[0] == text
            self._shown[key] = known if known is not None and same else (text, version)

    def since(self, version: int) -> dict[str, object]:
        """The workers that look different; all their keys where some have come or gone."""
        workers = [msgspec.Raw(text) for text, changed in self._shown.values() if changed > version]
        present = version == _NOTHING or self._changed > version
        return {"workers": workers} | ({"present": list(self._shown)} if present else {})


class NetworkRoutes:
    """The network as a whole, and one job's life."""

    def __init__(
        self, coordinator: Coordinator, access: Access, network: Network, gate: Gate, clock: Clock
    ) -> None:
        self._coordinator = coordinator
        self._overview = coordinator.overview
        self._recent = self._overview.recent
        self._access = access
        self._clock = clock
        self._crowd = Crowd(self._recent)
        self._frame: Frame | None = None
        self._looking = asyncio.Lock()
        self._about: dict[str, object] = {
            "service": "dispatchd",
            "version": __version__,
            "network": network.caip2,
            "started_at": iso(self._recent.started_at),
            "payments": gate.kind,
        }

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        router.add_get("/v1/network", guarded(self._glance))
        router.add_get("/v1/network/events", guarded(self._events))
        router.add_get("/v1/jobs/{id}/timeline", guarded(self._timeline))

    async def _glance(self, request: web.Request) -> web.Response:
        if self._is_neighbour(NETWORK, request):
            since = whole_number(request, "since", 0, _BUCKET_MAX, default=0)
            return raw_response(msgspec.json.encode(self._overview.counts(since)))
        self._access.enter(request)
        await self._overview.refresh()
        frame = await self._look()
        return raw_response(self._print(frame, _NOTHING, self._access.caller(request)))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self._access.enter(request)
        return await send_events(request, self._news(self._access.caller(request)))

    async def _timeline(self, request: web.Request) -> web.Response:
        job = await self._coordinator.get(request.match_info["id"].lower())
        if self._is_neighbour(job.id, request):
            return raw_response(msgspec.json.encode(self._overview.seen(job.id)))
        self._access.read(request, job)
        steps, whole = await self._overview.timeline(job)
        return json_response(
            {
                "job_id": job.id,
                "status": job.status,
                "job_type": job.job_type,
                "tier": job.tier,
                "user_id": job.user_id,
                "attempts": job.attempt,
                "failed_attempts": job.faults,
                "whole": whole,
                "steps": [_step_shown(step) for step in steps],
            }
        )

    def _is_neighbour(self, subject: str, request: web.Request) -> bool:
        return self._coordinator.is_neighbour(subject, request.headers.get(TICKET, ""))

    async def _news(self, caller: str | None) -> AsyncGenerator[str]:
        """Events, as many a second as there are frames at the most.

        Where the store goes away amid them they end, and the watcher comes back.
        """
        seen = _NOTHING
        with self._overview.watcher():
            while not self._overview.ending:
                try:
                    if seen == _NOTHING:
                        await self._overview.refresh()
                    frame = await self._look()
                except StoreUnavailable:
                    if seen == _NOTHING:
                        raise
                    return
                if frame.version > seen:
                    kind = "snapshot" if seen == _NOTHING else "change"
                    data = self._print(frame, seen, caller).decode()
                    yield f"id: {frame.version}\nevent: {kind}\ndata: {data}\n\n"
                    seen = frame.version
                happened = self._recent.listen(seen)
                if self._overview.ending:  # perhaps while the frame was looked up
                    return
                if not await self._clock.wait(happened, _QUIET_SECONDS):
                    yield KEEP_ALIVE
                    continue
                left = _FRAME_SECONDS - (self._clock.now() - frame.at) / 1000
                if 0 < left <= _FRAME_SECONDS and not self._overview.ending:
                    await self._clock.sleep(left)

    async def _look(self) -> Frame:
        """The frame that everybody sees who looks now."""
        async with self._looking:
            now = self._clock.now()
            frame = self._frame
            if frame is None or passed(frame.at, now, _FRAME_SECONDS):
                workers, numbers = await self._overview.glance(_WORKERS_MAX)
                self._crowd.update([worker_shown(each) for each in workers])
                frame = Frame(self._recent.version, now, numbers, {})
                self._frame = frame
            return frame

    def _print(self, frame: Frame, seen: int, caller: str | None) -> bytes:
        """What somebody has not seen yet of a frame, as JSON."""
        key = (seen, caller)
        if key not in frame.printed:
            lives = self._recent.lives(seen, caller, _JOBS_MAX)
            about = self._about if seen == _NOTHING else {}
            found = about | {
                "timestamp": iso(frame.at),
                "now": frame.now,
                "series": self._overview.buckets(seen),
                **self._crowd.since(seen),
                "jobs": [_life_shown(life) for life in lives],
            }
            frame.printed[key] = msgspec.json.encode(found)
        return frame.printed[key]


def _life_shown(life: Life) -> dict[str, object]:
    return {
        "id": life.id,
        "job_type": life.job_type,
        "tier": life.tier,
        "user_id": life.user_id,
        "privacy_class": life.privacy,
        "status": life.status,
        "attempts": life.attempt,
        "provider_pubkey": life.worker_key,
        "paid": life.paid,
        "created_at": iso(life.created_at),
        "steps": [_step_shown(step) for step in life.told],
    }


def _step_shown(step: Step) -> dict[str, object]:
    shown: dict[str, object] = {
        "event": step.event,
        "at": None if step.at is None else iso(step.at),
    }
    more = {
        "attempt": step.attempt or None,
        "provider_pubkey": step.worker_key,
        "reason": step.reason,
    }
    return shown | {name: value for name, value in more.items() if value is not None}
