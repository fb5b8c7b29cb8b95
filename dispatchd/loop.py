"""The event loop: runs parts beside one another until a signal, or until one of them dies."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, TypeVar

from dispatchd.core.errors import Unusable
from dispatchd.worker.opening import still_opening

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

Part = Callable[[], Coroutine[Any, Any, None]]
_T = TypeVar("_T")

_SIGNAL_EXIT = 128


def run_until_stopped(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs it on the fastest event loop there is; SIGINT and SIGTERM set the event."""
    factory = None if uvloop is None else uvloop.new_event_loop

    async def with_signals() -> None:
        stop = asyncio.Event()
        with _signals_setting(stop):
            await main(stop)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(with_signals())
    if still_opening():  # inside ONNX Runtime, which breaks if the program is torn down around it
        sys.stdout.flush()
        os._exit(0)


@asynccontextmanager
async def together(parts: Sequence[Part]) -> AsyncIterator[None]:
    """Runs the parts while the body runs; if one of them dies, so do all."""
    unusable = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part()) for part in parts]
        try:
            yield
        except Unusable as error:  # one sentence, which need not come in a group
            unusable = error
        finally:
            for task in tasks:
                task.cancel()
    if unusable is not None:
        raise unusable


async def unless_stopped(work: Coroutine[Any, Any, _T], stop: asyncio.Event) -> _T | None:
    """What comes of the work; None where it was not done when `stop` was set, and so was ended."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working})


@contextmanager
def _signals_setting(stop: asyncio.Event) -> Iterator[None]:
    """The first signal sets the event; the second ends the process at once."""
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            os._exit(_SIGNAL_EXIT + number)
        loop.call_soon_threadsafe(stop.set)

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
