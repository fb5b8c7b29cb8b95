"""A model on its way, opened on a thread of its own while the node is up already."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from dispatchd.engine import Progress

_T = TypeVar("_T")

_THREAD = "opening"
_STOP_SECONDS = 1.0


class _Stopped(Exception):
    """Nobody wants the model any more."""


class Opening(Generic[_T]):
    """Begins at once. The thread is a daemon, since ONNX Runtime cannot be stopped as it loads."""

    def __init__(self, open_model: Callable[[Progress], _T]) -> None:
        self._open_model = open_model
        self._stopped = threading.Event()
        self._future: Future[_T] = Future()
        self._future.set_running_or_notify_cancel()  # so that who waits no longer ends no thread
        self._thread = threading.Thread(target=self._work, name=_THREAD, daemon=True)
        self._thread.start()

    async def opened(self) -> _T:
        """The model once it is there; raises what kept it from being opened, such as `Unusable`."""
        return await asyncio.wrap_future(self._future)

    def stop(self) -> None:
        """Gives the model up if it is not there yet, and waits a moment for what ends it."""
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)

    def _work(self) -> None:
        try:
            model = self._open_model(self._heard)
        except BaseException as error:  # noqa: BLE001 # it is raised where the model is awaited
            self._future.set_exception(error)
        else:
            self._future.set_result(model)

    def _heard(self, _: float) -> None:
        if self._stopped.is_set():
            raise _Stopped


def still_opening() -> bool:
    """Whether a model that was given up is still being loaded."""
    return any(thread.name == _THREAD for thread in threading.enumerate())
