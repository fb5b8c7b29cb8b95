"""The routes that OpenAI's clients know. Each call is an ordinary job, for as long as it is heard.

Any bearer token is taken, and none is needed.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Literal, Self

from aiohttp import web
from msgspec import Struct

from dispatchd.api.body import json_text
from dispatchd.api.connection import Connection
from dispatchd.api.errors import json_response
from dispatchd.api.gate import Gate
from dispatchd.api.job_view import JobView
from dispatchd.api.openai_errors import JOB_ID_HEADER, Problem, Refused, about_job, shaped
from dispatchd.api.openai_replies import ChatStyle, Result, Style, TextStyle, Writer, result_of
from dispatchd.api.openai_schema import Asked, parse_chat, parse_text
from dispatchd.api.openai_stream import chunks
from dispatchd.api.sse import send_events
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.follow import EndNews, News, Place
from dispatchd.core.clock import Clock
from dispatchd.core.errors import DispatchError, Stopping
from dispatchd.core.job import JobType
from dispatchd.core.limits import Limits

_OWNER = "dispatchd"


class _Kind(Struct, frozen=True):
    """One of the two kinds of call."""

    parse: Callable[[str], Asked]
    style: Style
    asks: Literal["messages", "prompt"]


_CHAT = _Kind(parse_chat, ChatStyle(), "messages")
_TEXT = _Kind(parse_text, TextStyle(), "prompt")


class OpenAiRoutes:
    """Chat and text completions, and the models."""

    def __init__(
        self, coordinator: Coordinator, view: JobView, clock: Clock, limits: Limits, gate: Gate
    ) -> None:
        self._coordinator = coordinator
        self._view = view
        self._gate = gate
        self._clock = clock
        self._limits = limits
        self._since = clock.now() // 1000  # the models' `created`: nobody tells when they were made

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Registers the routes."""
        for path, kind in (("/v1/chat/completions", _CHAT), ("/v1/completions", _TEXT)):
            answer = self._gate.before(partial(self._answer, kind), shaped, "Fast compute job")
            router.add_post(path, answer)
        router.add_get("/v1/models", shaped(self._models))
        router.add_get("/v1/models/{id:.+}", shaped(self._model))

    async def _models(self, _: web.Request) -> web.Response:
        models = [self._card(name) for name in await self._known_models()]
        return json_response({"object": "list", "data": models})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        await self._check_model(name)
        return json_response(self._card(name))

    async def _answer(self, kind: _Kind, request: web.Request) -> web.StreamResponse:
        asked = kind.parse(await json_text(request, self._limits))
        if asked.model is not None:
            await self._check_model(asked.model)
        payment = self._gate.payment(request)
        submitted = await self._coordinator.submit(asked.order, str(uuid.uuid4()), payment=payment)
        job_id = submitted.job_id
        created = self._clock.now() // 1000
        writer = Writer(kind.style, job_id, created, asked.model, asked.include_usage)
        headers = {JOB_ID_HEADER: job_id}
        try:
            async with _Hearing(self._coordinator, request, job_id) as hearing:
                news = hearing.news(kind.asks)
                if asked.stream:
                    return await send_events(request, chunks(writer, news), headers)
                results = [each async for each in news if isinstance(each, Result)]
                headers |= await self._settled(job_id)
                return json_response(writer.reply(results[0]), headers=headers)
        except (Refused, DispatchError) as error:
            raise about_job(error, headers | await self._settled(job_id)) from None

    async def _settled(self, job_id: str) -> dict[str, str]:
        return (await self._view.payment(job_id))[1] if self._gate.sells else {}

    def _card(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": _OWNER}

    async def _check_model(self, name: str) -> None:
        known = await self._known_models()
        if name not in known:
            which = f"those here are {', '.join(known)}" if known else "no model is here now"
            sentence = f"The model {name!r} does not exist: {which}"
            raise Refused(Problem(404, sentence, "model_not_found", "model"))

    async def _known_models(self) -> list[str]:
        """What jobs can name: the models of the workers that are connected."""
        cards = [seat.card for seat, _ in await self._coordinator.workers()]
        able = [card for card in cards if JobType.LLM_INFER in card.capabilities and card.version]
        return sorted({name for card in able for name in card.models})


class _Hearing:
    """A job for as long as its client listens: it is cancelled when nobody will read its end."""

    def __init__(self, coordinator: Coordinator, request: web.Request, job_id: str) -> None:
        self._coordinator = coordinator
        self._request = request
        self._job_id = job_id
        self._ended = False
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._cancel_when_gone())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if not self._ended:
            await self._cancel()

    async def news(self, asks: Literal["messages", "prompt"]) -> AsyncIterator[News | Result]:
        """The job's life, and at last its result; raises `Refused` where it fails."""
        async for each in self._coordinator.follow(self._job_id, Place()):
            if isinstance(each, EndNews):
                self._ended = True
                yield result_of(each.job, asks)
                return
            yield each
        raise Stopping

    async def _cancel_when_gone(self) -> None:
        connection = self._request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - for the types: app.py makes no other
        await connection.client_gone()
        await self._cancel()

    async def _cancel(self) -> None:
        # It may have ended just now; and who has gone cannot be told what else went wrong.
        with contextlib.suppress(DispatchError):
            await self._coordinator.cancel(self._job_id)
