"""Lets those who want the same thing through one after another."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Line:
    """Those who want the same thing at the moment; what one `heard` is there for those behind."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.length = 0
        self.heard: tuple[object, Exception] | None = None


class OneByOne:
    """A line for each thing that somebody wants at the moment."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, Line] = {}

    @asynccontextmanager
    async def alone(self, thing: Hashable) -> AsyncIterator[Line]:
        """Nobody else has this thing while the block runs."""
        line = self._lines.setdefault(thing, Line())
        line.length += 1
        try:
            async with line.lock:
                yield line
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[thing]
