"""Runs LLM_INFER jobs: the engine off the event loop, its text passed on in joined pieces."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.batch import Listener
from dispatchd.engine.batch.batcher import Batcher, Ticket
from dispatchd.engine.generate import Generation, GenerationStream
from dispatchd.engine.load import LanguageModel
from dispatchd.engine.observer import UNOBSERVED, EngineObserver, Stopwatch
from dispatchd.engine.request import TextRequest
from dispatchd.worker import Output
from dispatchd.worker.llm_payload import read_request

_SEED_BITS = 53  # readers of JSON whose numbers are doubles see every digit

# Stops a generation that was begun; from any thread, and more than once.
Stop = Callable[[], None]


class LlmExecutor:
    """`Executor` over one model; `parallel` generations run at once.

    A batcher runs them all on its own thread, another model each on one of these threads.
    """

    def __init__(
        self, model: LanguageModel, parallel: int, observer: EngineObserver = UNOBSERVED
    ) -> None:
        self._model = model
        self._observer = observer
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="engine")

    def close(self) -> None:
        """Ends what runs, with `cancelled`, and the engine's threads."""
        if isinstance(self._model, Batcher):
            self._model.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        """Yields text as it is generated, then `{"text", "model", …}`."""
        spare_seed = secrets.randbits(_SEED_BITS)
        request = read_request(payload, model=self._model.name, spare_seed=spare_seed)
        async with contextlib.aclosing(self.generate(request)) as steps:
            async for step in steps:
                yield step if isinstance(step, str) else self._output(request, step)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def device(self) -> str:
        """What the model runs on."""
        return self._model.device

    async def generate(self, request: TextRequest) -> AsyncGenerator[str | Generation]:
        """Yields text as it is generated, then one Generation; closing it stops the engine."""
        pump = _Pump(self._observer)
        stop = self._begin(request, pump)
        try:
            async for text in pump.pieces():
                yield text
        finally:
            stop()
        generation = pump.generation()
        self._observer.generated(generation.prompt_tokens, generation.completion_tokens)
        yield generation

    def _begin(self, request: TextRequest, pump: "_Pump") -> Stop:
        loop = asyncio.get_running_loop()
        if isinstance(self._model, Batcher):
            entry = _Entry(self._model, request, pump)
            loop.run_in_executor(self._threads, entry.submit)
            return entry.close
        generation = self._model.generate(request)
        loop.run_in_executor(self._threads, _listen, generation, pump)
        return generation.close

    def _output(self, request: TextRequest, generation: Generation) -> Output:
        chance = {"seed": request.seed} if request.temperature > 0 else {}
        return Output(
            {
                "text": generation.text,
                "model": self._model.name,
                "prompt_tokens": generation.prompt_tokens,
                "completion_tokens": generation.completion_tokens,
                "finish_reason": generation.finish_reason,
                **chance,
                **self._determinism(),
            }
        )

    def _determinism(self) -> dict[str, Any]:
        if not isinstance(self._model, Batcher):
            return {}
        return {"determinism": msgspec.to_builtins(self._model.determinism)}


class _Entry:
    """A generation on its way into the batcher; its prompt is encoded on a thread."""

    def __init__(self, batcher: Batcher, request: TextRequest, listener: Listener) -> None:
        self._batcher = batcher
        self._request = request
        self._listener = listener
        self._lock = threading.Lock()
        self._ticket: Ticket | None = None
        self._closed = False

    def submit(self) -> None:
        try:
            ticket = self._batcher.submit(self._request, self._listener)
        except Exception as error:  # noqa: BLE001 # it is raised where the text is awaited
            self._listener.end(error)
            return
        with self._lock:
            self._ticket = ticket
            if self._closed:
                ticket.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._ticket is not None:
                self._ticket.close()


def _listen(generation: GenerationStream, listener: Listener) -> None:
    """Carries out a generation on this thread."""
    outcome: Generation | Exception = ExecutionFailed("cancelled")
    try:
        for step in generation:
            if isinstance(step, Generation):
                outcome = step
            else:
                listener.give(step)
    except Exception as error:  # noqa: BLE001 # it is raised where the text is awaited
        outcome = error
    listener.end(outcome)


class _Pump:
    """`Listener` that carries pieces to the event loop; those that meet are joined."""

    def __init__(self, observer: EngineObserver) -> None:
        self._loop = asyncio.get_running_loop()
        self._watch = Stopwatch(observer)
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._outcome: Generation | Exception | None = None
        self._ring = asyncio.Event()

    async def pieces(self) -> AsyncGenerator[str]:
        """Text as it comes, until the generation has ended in whatever way."""
        ended = False
        while not ended:
            await self._ring.wait()
            self._ring.clear()
            ended = self._outcome is not None  # after which no piece comes
            if text := self._take():
                yield text

    def generation(self) -> Generation:
        """What came of it, after the last piece; raises what ended it."""
        if isinstance(self._outcome, Generation):
            return self._outcome
        raise self._outcome or ExecutionFailed("cancelled")

    def give(self, piece: str) -> None:
        """From the engine's thread."""
        self._watch.text()
        with self._lock:
            self._pieces.append(piece)
            first = len(self._pieces) == 1
        if first:
            self._wake()

    def end(self, outcome: Generation | Exception) -> None:
        """From the engine's thread."""
        self._outcome = outcome
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody waiting
            self._loop.call_soon_threadsafe(self._ring.set)

    def _take(self) -> str:
        with self._lock:
            pieces, self._pieces = self._pieces, []
        return "".join(pieces)
