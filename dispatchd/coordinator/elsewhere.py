"""What happens at other coordinators over the same store, read while somebody looks at the network.

The latest jobs and the leases are in the store. What each coordinator has counted it is asked for.
"""

import asyncio
import contextlib

from dispatchd.coordinator.known import Leases
from dispatchd.coordinator.life import Step
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.neighbours import Neighbours
from dispatchd.coordinator.recent import Recent
from dispatchd.coordinator.seats import Seats
from dispatchd.coordinator.series import Counts, Series
from dispatchd.core.clock import Clock, passed
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import Millis

_BETWEEN_LOOKS_SECONDS = 0.5
_JOBS_AT_ONCE = 50


class _Counted:
    """What another coordinator has counted. Its buckets outlive it, its totals do not."""

    def __init__(self) -> None:
        self.series = Series()
        self.totals = (0, 0)

    def heard(self, counts: Counts, now: Millis, version: int) -> bool:
        """Takes over what it says; whether that is news, which has this version then."""
        former, self.totals = self.totals, (counts.completed, counts.failed)
        return self.series.heard(counts.tallies, now, version) or self.totals != former


class Elsewhere:
    """Keeps what is known of other coordinators fresh for as long as somebody looks."""

    def __init__(
        self,
        neighbours: Neighbours,
        seats: Seats,
        matching: Matching,
        recent: Recent,
        clock: Clock,
    ) -> None:
        self._neighbours = neighbours
        self._seats = seats
        self._matching = matching
        self._recent = recent
        self._clock = clock
        self._counted: dict[str, _Counted] = {}
        self._looking = asyncio.Lock()
        self._looked_at: Millis = 0

    @property
    def totals(self) -> tuple[int, int]:
        """How many jobs the other coordinators that live have completed, and have seen fail."""
        living = [each.totals for key, each in self._counted.items() if self._neighbours.has(key)]
        return sum(completed for completed, _ in living), sum(failed for _, failed in living)

    @property
    def series(self) -> list[Series]:
        """The last minutes of each of them, also of those that have died."""
        return [each.series for each in self._counted.values()]

    async def leases(self) -> Leases:
        """How many jobs each worker has that does not sit here."""
        found = await self._neighbours.cluster.leases()
        return {key: jobs for key, jobs in found.items() if self._seats.with_key(key) is None}

    async def steps(self, job_id: str) -> list[Step]:
        """What the others have seen of a job, as far as they can be asked."""
        return await self._neighbours.steps(job_id)

    async def keep_up(self, watched: asyncio.Event) -> None:
        """Looks again and again while `watched` is set, soon after others have changed jobs."""
        while True:
            await watched.wait()
            self._neighbours.moved.clear()
            with contextlib.suppress(StoreUnavailable):  # of which the neighbours' loop tells
                await self.refresh()
            await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)
            # Of a job that is given out as it is committed no bell tells.
            await self._clock.wait(self._neighbours.moved, _BETWEEN_LOOKS_SECONDS)

    async def refresh(self) -> None:
        """Learns what has happened, unless that was just done; raises `StoreUnavailable`."""
        async with self._looking:
            now = self._clock.now()
            if not passed(self._looked_at, now, _BETWEEN_LOOKS_SECONDS):
                return
            self._looked_at = now
            await self._look_at_counts()
            await self._look_at_queue()
            await self._look_at_jobs()

    async def _look_at_counts(self) -> None:
        known = {key: each.series.newest for key, each in self._counted.items()}
        heard = await self._neighbours.counts(known)
        now, version = self._clock.now(), self._recent.version + 1
        news = [
            self._counted.setdefault(key, _Counted()).heard(counts, now, version)
            for key, counts in heard.items()
        ]
        if any(news):
            self._recent.crowd_changed()
        for key, each in list(self._counted.items()):
            if each.series.is_over(now) and not self._neighbours.has(key):
                del self._counted[key]

    async def _look_at_queue(self) -> None:
        waiting = self._matching.queued
        await self._matching.look()
        if self._matching.queued != waiting:
            self._recent.crowd_changed()

    async def _look_at_jobs(self) -> None:
        away = [job_id for job_id in self._recent.open if job_id not in self._seats.under_way]
        for job in await self._neighbours.cluster.latest(_JOBS_AT_ONCE, away):
            self._recent.found(job)
