"""Asks a coordinator how it is."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errors import Unreachable
from dispatchd.sdk.http import Http, Pace, new_session

_SECONDS = 5.0
_ONCE = Pace(retries=(), waiting_retries=())
_T = TypeVar("_T")


class Health(Struct, frozen=True):
    """What it said, when that was by this machine's clock, and how long it took; in seconds."""

    said: dict[str, Any]
    at: float
    took: float


def asked(url: str, question: Callable[[CoordinatorClient], Awaitable[_T]], seconds: float) -> _T:
    """What comes of a question, asked once; raises `ComputeError`."""

    async def ask() -> _T:
        try:
            async with asyncio.timeout(seconds), new_session() as session:
                return await question(CoordinatorClient(Http(url, session), _ONCE))
        except TimeoutError:
            raise Unreachable(f"no answer within {seconds:g} s") from None

    return asyncio.run(ask())


def health_of(url: str) -> Health:
    """A coordinator's health; raises `ComputeError`."""

    async def question(coordinator: CoordinatorClient) -> Health:
        began, began_at = time.monotonic(), time.time()
        said = await coordinator.get("/v1/health")
        took = time.monotonic() - began
        return Health(said, began_at + took / 2, took)

    return asked(url, question, _SECONDS)
