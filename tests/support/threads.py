"""What runs on a loop of its own thread, for tests that block."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Generic, TypeVar

from dispatchd.sdk.blocking import LoopThread

_T = TypeVar("_T")


class _Started(AbstractAsyncContextManager[None], Generic[_T]):
    """An async context that tells other threads what it yields."""

    def __init__(self, context: AbstractAsyncContextManager[_T]) -> None:
        self._context = context
        self.value: Future[_T] = Future()

    async def __aenter__(self) -> None:
        try:
            self.value.set_result(await self._context.__aenter__())
        except BaseException as error:
            self.value.set_exception(error)
            raise

    async def __aexit__(self, *_: object) -> None:
        await self._context.__aexit__(None, None, None)


@contextmanager
def on_a_thread(context: AbstractAsyncContextManager[_T]) -> Iterator[_T]:
    """What an async context yields, running elsewhere until the end of the block."""
    started = _Started(context)
    thread = LoopThread(started)
    try:
        yield started.value.result(10)
    finally:
        thread.close()
