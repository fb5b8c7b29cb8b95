"""An event loop on a thread of its own, for callers that have none."""

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeVar

from dispatchd.sdk.errors import ComputeError
from dispatchd.sdk.result import ComputeResult
from dispatchd.sdk.stream import TextStream

_T = TypeVar("_T")
_END_SECONDS = 5.0


class LoopThread:
    """Runs coroutines inside of one async context until it is closed."""

    def __init__(self, context: AbstractAsyncContextManager[Any]) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=_serve, args=(self._loop, self._stop, context), name="dispatchd-sdk", daemon=True
        )
        self._thread.start()
        self._close = weakref.finalize(self, _close, self._loop, self._stop, self._thread)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What a coroutine returns or raises; an interrupt cancels it."""
        if not self._close.alive:
            work.close()
            raise ComputeError("The router is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Ends the thread; a second time does nothing."""
        self._close()


class BlockingStream:
    """A `TextStream` to be read with `for`; see there."""

    def __init__(self, stream: TextStream, thread: LoopThread) -> None:
        self._stream = stream
        self._thread = thread

    @property
    def text(self) -> str:
        """The text so far."""
        return self._stream.text

    @property
    def restarts(self) -> int:
        """How often what had been told before turned out to be no part of the text."""
        return self._stream.restarts

    @property
    def job_id(self) -> str | None:
        """The job's id, once the network has taken it."""
        return self._stream.job_id

    @property
    def result(self) -> ComputeResult:
        """The whole result; there once the last piece has been read."""
        return self._stream.result

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        piece = self._thread.run(_next(self._stream))
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Stops listening; the job goes on."""
        self._thread.run(self._stream.aclose())


async def _next(stream: TextStream) -> str | None:
    return await anext(stream, None)


def _serve(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, context: AbstractAsyncContextManager[Any]
) -> None:
    async def until_stopped() -> None:
        async with context:
            await stop.wait()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(until_stopped())


def _close(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(stop.set)
    if thread is not threading.current_thread():  # a collector may run anywhere
        thread.join(_END_SECONDS)
