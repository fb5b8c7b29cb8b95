"""Reads what a piece of work takes of this process and of the database server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from scripts.bench.postgres_cpu import server_cpu
from scripts.cluster_model.costs import Cost

Work = Callable[[], Awaitable[object]]


class Meter(Struct, frozen=True):
    """Tells what was used by this process and by the server, whose first process it knows."""

    postmaster: int

    async def of(self, work: Awaitable[object]) -> Cost:
        """Awaits something, and says what that took of both."""
        server = server_cpu(self.postmaster)
        own = (
            time.process_time()
        )  # what it takes to look through the server's processes is not meant
        await work
        own = time.process_time() - own
        return Cost(own, server_cpu(self.postmaster) - server)

    async def each(self, count: int, work: Work) -> Cost:
        """What something costs that is done so often, once after the other."""

        async def often() -> None:
            for _ in range(count):
                await work()

        return await self.of(often()) * (1 / count)

    async def together(self, size: int, work: Sequence[Work]) -> Cost:
        """What so many at once cost, on average over all the groups that the work makes."""

        async def in_groups() -> None:
            for first in range(0, len(work), size):
                await asyncio.gather(*(each() for each in work[first : first + size]))

        return await self.of(in_groups()) * (size / len(work))
