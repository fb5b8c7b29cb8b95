"""Runs LLM_INFER jobs on a backend: its text passed on as it comes, its figures in the result."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dispatchd.core.clock import Clock
from dispatchd.core.errors import Unusable
from dispatchd.core.job import millis
from dispatchd.core.limits import Limits
from dispatchd.engine.observer import UNOBSERVED, EngineObserver, Stopwatch
from dispatchd.engine.request import TextRequest
from dispatchd.worker import Output
from dispatchd.worker.backend.address import KEY_VARIABLE, BackendAddress
from dispatchd.worker.backend.failure import BackendFailed, Trouble
from dispatchd.worker.backend.gate import Gate
from dispatchd.worker.backend.models import ListedModel, choose
from dispatchd.worker.backend.reading import Reading, Told
from dispatchd.worker.backend.request import SEED_BITS, chat_body
from dispatchd.worker.backend.server import Reply, Server, connected
from dispatchd.worker.llm_payload import read_request

log = logging.getLogger(__name__)

DEFAULT_SLOTS = 16
"""Servers of this kind batch; what is too much for one it queues itself."""

_START_PAUSE_SECONDS = 1.0
_BUSY_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
_RETRY_AFTER_SECONDS_MAX = 30.0
_FIGURES_SECONDS = 5.0
_PASSING = frozenset({Trouble.AWAY, Trouble.BUSY, Trouble.BROKEN})
_OF_EVERY_JOB = frozenset({Trouble.AWAY, Trouble.BUSY, Trouble.KEY, Trouble.MISSING})


class BackendExecutor:
    """`Executor` over one model of a backend; as many jobs at once as are begun."""

    def __init__(
        self,
        server: Server,
        model: ListedModel,
        clock: Clock,
        limits: Limits,
        observer: EngineObserver = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self.model = model.id
        self.url = server.url
        self._server = server
        self._model = model
        self._clock = clock
        self._limits = limits
        self._gate = Gate(self._look, clock, limits.backend_wait_seconds)

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        """Yields text as the backend sends it, then `{"text", "model", …}`."""
        request = read_request(payload, model=self.model, spare_seed=secrets.randbits(SEED_BITS))
        await self._gate.passed()
        reading, watch = Reading(), Stopwatch(self._observer)
        async with self._asked(chat_body(request, self._model)) as reply:
            while not reading.complete and (chunk := await self._more(reply, reading)):
                if text := reading.feed(chunk):
                    watch.text()
                    yield text
            await _read_figures(reply, reading)
        told = reading.told()
        self._observer.generated(told.prompt_tokens or 0, told.completion_tokens)
        yield self._output(request, told)

    @asynccontextmanager
    async def _asked(self, body: dict[str, Any]) -> AsyncIterator[Reply]:
        """The reply to a request once the backend takes it."""
        try:
            reply = await self._taken(body)
        except BackendFailed as failure:
            if failure.trouble in _OF_EVERY_JOB:
                self._gate.shut(failure)
            raise
        try:
            yield reply
        finally:
            reply.close()

    async def _taken(self, body: dict[str, Any]) -> Reply:
        pauses = iter(_BUSY_PAUSES_SECONDS)
        while True:
            try:
                return await self._server.ask(body, self._limits.backend_start_seconds)
            except BackendFailed as failure:
                if failure.trouble is Trouble.TOO_LONG and "max_tokens" in body:
                    # vLLM counts `max_tokens` as well; without it the room that is left is used.
                    body = {name: value for name, value in body.items() if name != "max_tokens"}
                    continue
                pause = next(pauses, None)
                if failure.trouble is not Trouble.BUSY or pause is None:
                    raise
                wanted = min(failure.retry_seconds or 0.0, _RETRY_AFTER_SECONDS_MAX)
                await self._clock.sleep(max(pause, wanted))

    async def _more(self, reply: Reply, reading: Reading) -> bytes:
        limits = self._limits
        seconds = limits.backend_silence_seconds if reading.begun else limits.backend_start_seconds
        return await reply.more(seconds)

    async def _look(self) -> None:
        listed = await self._server.models()
        try:
            choose(listed, self.model, self.url)
        except Unusable:
            raise BackendFailed(Trouble.MISSING, "it lists the model no more") from None

    def _output(self, request: TextRequest, told: Told) -> Output:
        asked = {} if told.prompt_tokens is None else {"prompt_tokens": told.prompt_tokens}
        chance = {"seed": request.seed} if request.temperature > 0 else {}
        return Output(
            {
                "text": told.text,
                "model": self.model,
                **asked,
                "completion_tokens": told.completion_tokens,
                "finish_reason": told.finish_reason,
                **chance,
            }
        )


async def _read_figures(reply: Reply, reading: Reading) -> None:
    """Reads what comes after a text, which is whole without it."""
    with contextlib.suppress(BackendFailed, TimeoutError):
        async with asyncio.timeout(_FIGURES_SECONDS):
            while not reading.done and (chunk := await reply.more(_FIGURES_SECONDS)):
                reading.feed(chunk)


@asynccontextmanager
async def open_backend(
    address: BackendAddress,
    wanted: str | None,
    clock: Clock,
    limits: Limits,
    observer: EngineObserver = UNOBSERVED,
) -> AsyncIterator[BackendExecutor]:
    """An executor over the backend's model of that name, or its only one; raises `Unusable`."""
    async with connected(address) as server:
        model = choose(await _listed(server, clock, limits), wanted, server.url)
        yield BackendExecutor(server, model, clock, limits, observer)


async def _listed(server: Server, clock: Clock, limits: Limits) -> list[ListedModel]:
    """The backend's models; one that is only starting yet is waited for."""
    until = clock.now() + millis(limits.backend_wait_seconds)
    told = False
    while True:
        try:
            return await server.models()
        except BackendFailed as failure:
            if failure.trouble not in _PASSING or clock.now() >= until:
                raise Unusable(_advice(server.url, failure)) from None
            if not told:
                log.warning("waiting for the backend at %s: %s", server.url, failure.said)
            told = True
        await clock.sleep(_START_PAUSE_SECONDS)


def _advice(url: str, failure: BackendFailed) -> str:
    match failure.trouble:
        case Trouble.KEY:
            return f"The backend at {url} refuses us ({failure.said}): set {KEY_VARIABLE}"
        case Trouble.MISSING:
            return f"{url}/models is not there ({failure.said}). Should --base-url end in /v1?"
        case _:
            return f"The backend at {url} cannot be used: {failure.said}. Is it running there?"
