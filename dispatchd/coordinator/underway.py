"""Counts what is under way, so that stopping can wait for its end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Underway:
    """A number of things that have begun and not ended."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def begin(self) -> None:
        """One more."""
        self._count += 1
        self._none.clear()

    def end(self) -> None:
        """One fewer."""
        self._count -= 1
        if self._count == 0:
            self._none.set()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One more for as long as the block runs."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    async def ended(self) -> None:
        """Returns once nothing is under way."""
        await self._none.wait()
