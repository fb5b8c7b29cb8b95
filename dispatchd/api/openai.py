"""The routes that OpenAI's clients know. Each call is an ordinary job, for as long as it is heard.

A bearer token that is no API key of ours counts as none, and none is needed but for users that have
one. A call is the key's user's, else that of the `user` it names.
"""

import contextlib
import uuid
from collections.abc import Callable
from functools import partial

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from dispatchd.api.access import Access
from dispatchd.api.body import json_text
from dispatchd.api.errors import json_response
from dispatchd.api.gate import Gate
from dispatchd.api.job_view import JobView
from dispatchd.api.openai_errors import (
    JOB_ID_HEADER,
    Asks,
    Refused,
    about_job,
    no_such_model,
    shaped,
)
from dispatchd.api.openai_hearing import Abandoned, Hearing
from dispatchd.api.openai_replies import ChatStyle, Result, Style, TextStyle, Writer
from dispatchd.api.openai_schema import Asked, parse_chat, parse_text
from dispatchd.api.openai_stream import chunks
from dispatchd.api.sse import send_events
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.intake import Order
from dispatchd.core.clock import Clock
from dispatchd.core.errors import DispatchError, StoreUnavailable
from dispatchd.core.limits import Limits

_OWNER = "dispatchd"


class _Kind(Struct, frozen=True):
    """One of the two kinds of call."""

    parse: Callable[[str], Asked]
    style: Style
    asks: Asks


_CHAT = _Kind(parse_chat, ChatStyle(), "messages")
_TEXT = _Kind(parse_text, TextStyle(), "prompt")


class OpenAiRoutes:
    """Chat and text completions, and the models."""

    def __init__(
        self,
        coordinator: Coordinator,
        view: JobView,
        access: Access,
        clock: Clock,
        limits: Limits,
        gate: Gate,
    ) -> None:
        self._coordinator = coordinator
        self._view = view
        self._access = access
        self._gate = gate
        self._abandoned = Abandoned(coordinator, clock)
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

    async def close(self) -> None:
        """Gives up what could not be cancelled yet."""
        await self._abandoned.close()

    async def _models(self, _: web.Request) -> web.Response:
        models = [self._card(name) for name in self._coordinator.models]
        return json_response({"object": "list", "data": models})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        self._check_model(name)
        return json_response(self._card(name))

    async def _answer(self, kind: _Kind, request: web.Request) -> web.StreamResponse:
        asked = kind.parse(await json_text(request, self._limits))
        order = self._owned(request, asked.order)
        if asked.model is not None:
            self._check_model(asked.model)
        payment = self._gate.payment(request)
        submitted = await self._coordinator.submit(order, str(uuid.uuid4()), payment=payment)
        job_id = submitted.job_id
        created = self._clock.now() // 1000
        writer = Writer(kind.style, job_id, created, self._name(asked), asked.include_usage)
        headers = {JOB_ID_HEADER: job_id}
        try:
            async with Hearing(self._coordinator, self._abandoned, request, job_id) as hearing:
                news = hearing.news(kind.asks)
                if asked.stream:
                    return await send_events(request, chunks(writer, news), headers)
                results = [each async for each in news if isinstance(each, Result)]
                headers |= await self._settled(job_id)
                return json_response(writer.reply(results[0]), headers=headers)
        except (Refused, DispatchError) as error:
            raise about_job(error, headers | await self._settled(job_id)) from None

    def _owned(self, request: web.Request, order: Order) -> Order:
        """The order of whoever's key came with it, if one did."""
        if (caller := self._access.caller(request)) is not None:
            return replace(order, user_id=caller)
        self._access.act_as(request, order.user_id)
        return order

    async def _settled(self, job_id: str) -> dict[str, str]:
        """What a reply says of the job's payment, where that can be read at the moment."""
        if self._gate.sells:
            with contextlib.suppress(StoreUnavailable):
                return (await self._view.payment(job_id))[1]
        return {}

    def _card(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": _OWNER}

    def _check_model(self, name: str) -> None:
        known = self._coordinator.models
        if name not in known:
            raise no_such_model(name, known)

    def _name(self, asked: Asked) -> str | None:
        """The model that a reply names; a stream does so before it is known which one answers."""
        if asked.model is not None or not asked.stream:
            return asked.model
        known = self._coordinator.models
        return known[0] if len(known) == 1 else None
