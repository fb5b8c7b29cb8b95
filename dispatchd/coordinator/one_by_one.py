"""Lets those who want the same thing through one after another."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class OneByOne:
    """A lock for each thing that somebody wants at the moment."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def alone(self, thing: Hashable) -> AsyncIterator[None]:
        """Nobody else has this thing while the block runs."""
        lock, waiting = self._locks.get(thing, (asyncio.Lock(), 0))
        self._locks[thing] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(thing)
            if waiting > 1:
                self._locks[thing] = (lock, waiting - 1)
