"""A job's life as server-sent events."""

import json
import re

from aiohttp import web

from dispatchd.api.access import Access
from dispatchd.api.errors import guarded
from dispatchd.api.job_view import JobView
from dispatchd.api.relay import TICKET
from dispatchd.api.sse import KEEP_ALIVE, send_events
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.follow import EndNews, News, Place, Quiet, StatusNews, TextNews

_LAST_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_LINE_END = re.compile(r"\r\n|\r|\n")


class StreamRoutes:
    """The live view of one job."""

    def __init__(self, coordinator: Coordinator, view: JobView, access: Access) -> None:
        self._coordinator = coordinator
        self._access = access
        self._view = view

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the route."""
        router.add_get("/v1/jobs/{id}/events", guarded(self._events))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        job_id = request.match_info["id"].lower()
        job = await self._coordinator.get(job_id)
        if not self._coordinator.is_neighbour(job_id, request.headers.get(TICKET, "")):
            self._access.read(request, job)
        news = self._coordinator.follow(job_id, _place(request))
        return await send_events(request, (await self._event(each) async for each in news))

    async def _event(self, news: News) -> str:
        match news:
            case StatusNews(status=status, place=place):
                return _print("status", json.dumps({"status": status}), place)
            case TextNews(text=text, place=place):
                return _print("delta", json.dumps({"delta": text}, ensure_ascii=False), place)
            case EndNews(job=job, place=place):
                return _print("done", await self._view.text(job), place)
            case Quiet():
                return KEEP_ALIVE


def _place(request: web.Request) -> Place:
    """Where a watcher that comes back had stopped reading."""
    match = _LAST_ID.fullmatch(request.headers.get("Last-Event-ID", ""))
    return Place(int(match[1]), int(match[2])) if match else Place()


def _print(name: str, data: str, place: Place) -> str:
    """One event. Raw outputs may hold line breaks between tokens; each line is a data line."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"id: {place.attempt}-{place.characters}\nevent: {name}\n{lines}\n"
