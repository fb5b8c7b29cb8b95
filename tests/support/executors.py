"""Executors that a test controls, where what matters is the worker around them."""

import asyncio
from collections.abc import AsyncGenerator

from dispatchd.worker import Output


class Gated:
    """Says a piece of text for each `step`, and ends with `result` once it is let go."""

    def __init__(self, result: dict[str, object] | Exception | None = None) -> None:
        self.result = {"summary": "x", "word_count": 1} if result is None else result
        self.payloads: list[str] = []
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.stopped = asyncio.Event()

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        self.payloads.append(payload)
        self.started.set()
        try:
            while not self.go.is_set():
                yield "text "
                await asyncio.sleep(0.002)
        except (GeneratorExit, asyncio.CancelledError):
            self.stopped.set()
            raise
        if isinstance(self.result, Exception):
            raise self.result
        yield Output(self.result)


class Scripted:
    """Says what a test puts into `pieces`: text, at last the output, or an error."""

    def __init__(self) -> None:
        self.payloads: list[str] = []
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.pieces: asyncio.Queue[str | dict[str, object] | Exception] = asyncio.Queue()

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        self.payloads.append(payload)
        self.started.set()
        try:
            while isinstance(piece := await self.pieces.get(), str):
                yield piece
        except (GeneratorExit, asyncio.CancelledError):
            self.stopped.set()
            raise
        if isinstance(piece, Exception):
            raise piece
        yield Output(piece)


class Instant:
    """Gives the same output at once."""

    def __init__(self, result: dict[str, object]) -> None:
        self._output = Output(result)

    async def run(self, payload: str) -> AsyncGenerator[str | Output]:
        yield self._output
