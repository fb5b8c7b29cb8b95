"""A text as it is generated, and the result at its end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from dispatchd.sdk.errand import Errand
from dispatchd.sdk.errors import ComputeError, JobTimeout, NetworkFailed
from dispatchd.sdk.result import ComputeResult
from dispatchd.sdk.telling import Telling

OpenErrand = Callable[[], AbstractAsyncContextManager[Errand]]
FallBack = Callable[[NetworkFailed, float], Awaitable[ComputeResult]]


class TextStream:
    """`async for piece in stream`; after the last piece `stream.result` is there.

    `stream.text` is the text so far. Where another worker had to take over and said something
    else, `stream.restarts` grows and the next piece is the text from its beginning. A stream that
    is left before its end is closed with `aclose()`, or by `async with`; its job goes on.
    """

    def __init__(self, errand: OpenErrand, fall_back: FallBack, seconds: float) -> None:
        self._open = errand
        self._fall_back = fall_back
        self._seconds = seconds
        self._deadline: float | None = None
        self._telling = Telling()
        self._errand: Errand | None = None
        self._pieces = self._read()
        self._result: ComputeResult | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return self._telling.text

    @property
    def restarts(self) -> int:
        """How often what had been told before turned out to be no part of the text."""
        return self._telling.restarts

    @property
    def job_id(self) -> str | None:
        """The job's id, once the network has taken it."""
        return self._errand.job_id if self._errand else None

    @property
    def result(self) -> ComputeResult:
        """The whole result; there once the last piece has been read."""
        if self._result is None:
            raise ComputeError("The stream has not been read to its end")
        return self._result

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._result is not None:
            raise StopAsyncIteration
        try:
            piece = await self._next_in_time()
        except NetworkFailed as failure:
            piece = await self._elsewhere(failure)
        if isinstance(piece, ComputeResult):
            self._result = piece
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Stops listening."""
        await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _next_in_time(self) -> str | ComputeResult:
        # The limit lies around each step, since one around a `yield` would cancel the reader.
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(self._pieces)
        except StopAsyncIteration:
            raise ComputeError("The stream was closed before its end") from None
        except TimeoutError:
            paid = self._errand is not None and self._errand.money_is_out
            raise JobTimeout(self._seconds, self.job_id, paid=paid) from None

    async def _elsewhere(self, failure: NetworkFailed) -> str | ComputeResult:
        if self._errand is not None:
            self._errand.mark(failure)
        started = self._errand.started if self._errand else 0.0
        result = await self._fall_back(failure, started)
        piece = self._telling.finish(result.output)
        if not piece:
            return result
        self._pieces = _only(result)
        return piece

    async def _read(self) -> AsyncGenerator[str | ComputeResult]:
        async with self._open() as errand:
            self._errand = errand
            async for piece in errand.stream(self._telling):
                yield piece


async def _only(result: ComputeResult) -> AsyncGenerator[str | ComputeResult]:
    yield result
