"""Runs LLM_INFER jobs: the engine on threads of its own, its text passed on in joined pieces."""

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.generate import Generation, GenerationStream, TextModel
from dispatchd.engine.request import TextRequest
from dispatchd.worker import Output
from dispatchd.worker.llm_payload import read_request

_SEED_BITS = 53  # readers of JSON whose numbers are doubles see every digit


class LlmExecutor:
    """`Executor` over one model; `parallel` generations run at once, each on its own thread."""

    def __init__(self, model: TextModel, parallel: int) -> None:
        self._model = model
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="engine")

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        """Yields text as it is generated, then `{"text", "model", …}`."""
        spare_seed = secrets.randbits(_SEED_BITS)
        request = read_request(payload, model=self._model.name, spare_seed=spare_seed)
        pump = _Pump(self._model.generate(request))
        work = pump.start(self._threads)
        try:
            async for text in pump.pieces():
                yield text
            generation = await work
        finally:
            pump.stop()
        yield self._output(request, generation)

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
            }
        )


class _Pump:
    """Carries pieces from an engine thread to the event loop; those that meet are joined."""

    def __init__(self, generation: GenerationStream) -> None:
        self._generation = generation
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._ring = asyncio.Event()
        self._ended = False

    def start(self, threads: ThreadPoolExecutor) -> asyncio.Future[Generation]:
        """Starts the engine's work; the future has its end or its error."""
        work = self._loop.run_in_executor(threads, self._work)
        # When the job is dropped nobody awaits the work, and its error is no news.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        return work

    async def pieces(self) -> AsyncGenerator[str]:
        """Text as it comes, until the work has ended in whatever way."""
        while not self._ended or self._pieces:
            await self._ring.wait()
            self._ring.clear()
            if text := self._take():
                yield text

    def stop(self) -> None:
        """Lets the engine stop after its present step."""
        self._generation.close()

    def _work(self) -> Generation:
        try:
            for step in self._generation:
                if isinstance(step, Generation):
                    return step
                self._give(step)
            raise ExecutionFailed("cancelled")
        finally:
            self._loop.call_soon_threadsafe(self._end)

    def _give(self, piece: str) -> None:
        with self._lock:
            self._pieces.append(piece)
            first = len(self._pieces) == 1
        if first:
            self._loop.call_soon_threadsafe(self._ring.set)

    def _take(self) -> str:
        with self._lock:
            pieces, self._pieces = self._pieces, []
        return "".join(pieces)

    def _end(self) -> None:
        self._ended = True
        self._ring.set()
