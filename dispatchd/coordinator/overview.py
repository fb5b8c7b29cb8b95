"""The network as a whole, whichever of its coordinators is asked.

What happens here is known here. What happens elsewhere is read while somebody watches or asks, and
where coordinators share a store alone: the latest jobs and the leases in the store, and of each
other coordinator what it has counted.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from dispatchd.coordinator.explain import Exclusion, explain
from dispatchd.coordinator.known import KnownWorker, Leases, grade_of, jobs_of
from dispatchd.coordinator.life import Step, merged, stored_steps, whole
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.neighbours import Neighbours
from dispatchd.coordinator.recent import Recent
from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.coordinator.series import Bucket, Counts, Series, summed
from dispatchd.core.clock import Clock
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import Job, Millis
from dispatchd.core.limits import Limits
from dispatchd.core.neighbour import Sitting
from dispatchd.core.standing import Standing
from dispatchd.feed import Feed
from dispatchd.scheduler import grade
from dispatchd.store import RecordStore

_BETWEEN_LOOKS_SECONDS = 0.5
_BETWEEN_LOOKS_MILLIS: Millis = 500
_JOBS_AT_ONCE = 50


class Numbers(Struct, frozen=True):
    """How much goes on: now, and since the coordinators that live began (`completed`, `failed`)."""

    workers_online: int
    waiting: int
    running: int
    completed: int
    failed: int
    completed_in_last_minute: int


class Elsewhere:
    """What another coordinator has counted. Its buckets outlive it, its totals do not."""

    def __init__(self) -> None:
        self.series = Series()
        self.completed = 0
        self.failed = 0

    def heard(self, counts: Counts, now: Millis, version: int) -> bool:
        """Takes over what it says; whether that is news, which has this version then."""
        totals = (self.completed, self.failed)
        self.completed, self.failed = counts.completed, counts.failed
        return self.series.heard(counts.tallies, now, version) or totals != (
            counts.completed,
            counts.failed,
        )


class Overview:
    """What can be seen of a network by whoever looks at it."""

    def __init__(
        self,
        seats: Seats,
        matching: Matching,
        records: RecordStore,
        feed: Feed,
        recent: Recent,
        clock: Clock,
        limits: Limits,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._seats = seats
        self._matching = matching
        self._records = records
        self._feed = feed
        self.recent = recent
        self._clock = clock
        self._limits = limits
        self._neighbours = neighbours
        self._elsewhere: dict[str, Elsewhere] = {}
        self._looking = asyncio.Lock()
        self._looked_at: Millis = 0
        self._watchers = 0
        self._watched = asyncio.Event()

    @property
    def workers_online(self) -> int:
        """How many workers are connected, to this or another coordinator."""
        return len(self._seats) + len(self._seats.others)

    async def workers(self) -> list[KnownWorker]:
        """The workers that are connected, wherever they sit."""
        return await self._workers(await self._leases())

    async def known_workers(self, after: str, limit: int) -> list[KnownWorker]:
        """Workers that are connected or have a record: those after a key, in the keys' order."""
        stored = await self._records.known(after, limit)
        others = self._seats.others
        online = {*(seat.key for seat in self._seats), *others}
        keys = heapq.nsmallest(limit, stored.keys() | {key for key in online if key > after})
        new = await self._records.standings([key for key in keys if key not in stored])
        leases = await self._leases()
        return [
            self._known(
                key, self._seats.with_key(key) or others.get(key), (stored | new)[key], leases
            )
            for key in keys
        ]

    async def explain(self, job: Job) -> list[Exclusion]:
        """Why a job waits: what keeps each connected worker from it."""
        workers, others = await self.workers(), self._seats.others_for(job)
        return explain(job, workers, self._clock.now(), self._limits, others_online=others)

    async def timeline(self, job: Job) -> tuple[list[Step], bool]:
        """What has happened to a job, and whether that is all."""
        seen = self.seen(job.id)
        if self._neighbours is not None and not whole(seen, job):
            seen = [*seen, *await self._neighbours.steps(job.id)]
        return merged(seen, stored_steps(job)), whole(seen, job)

    def seen(self, job_id: str) -> list[Step]:
        """What this coordinator has itself seen of a job, while that is among the latest."""
        life = self.recent.life(job_id)
        return [] if life is None else life.steps

    async def glance(self) -> tuple[list[KnownWorker], Numbers]:
        """The connected workers, and how much goes on."""
        leases = await self._leases()
        workers, now = await self._workers(leases), self._clock.now()
        elsewhere = [each for key, each in self._elsewhere.items() if self._is_there(key)]
        numbers = Numbers(
            workers_online=self.workers_online,
            waiting=self._matching.queued,
            running=len(self._seats.under_way) + self._running_elsewhere(leases),
            completed=self.recent.completed + sum(each.completed for each in elsewhere),
            failed=self.recent.failed + sum(each.failed for each in elsewhere),
            completed_in_last_minute=sum(
                each.completed_in_last_minute(now) for each in self._all_series
            ),
        )
        return workers, numbers

    def buckets(self, version: int) -> list[Bucket]:
        """The buckets of the last fifteen minutes that changed after a version."""
        return summed(self._all_series, version, self._clock.now())

    def counts(self, since: int) -> Counts:
        """What this coordinator alone has counted, its buckets from a number on."""
        recent = self.recent
        tallies = recent.series.since(since, self._clock.now())
        return Counts(recent.completed, recent.failed, tallies)

    @contextmanager
    def watcher(self) -> Iterator[None]:
        """Counts somebody who watches the network for as long as the block runs; `TooMany`."""
        with self._feed.watcher():
            self._watchers += 1
            self._watched.set()
            try:
                yield
            finally:
                self._watchers -= 1
                if not self._watchers:
                    self._watched.clear()

    @property
    def ending(self) -> bool:
        """Whether whoever watches is to be let go, as the node stops."""
        return self._feed.closed

    async def run(self) -> None:
        """Keeps up with what happens elsewhere while somebody watches."""
        if self._neighbours is None:
            return
        while True:
            await self._watched.wait()
            self._neighbours.moved.clear()
            with contextlib.suppress(StoreUnavailable):  # of which the neighbours' loop tells
                await self.refresh()
            await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)
            # Of a job that is given out at once no bell tells.
            await self._clock.wait(self._neighbours.moved, _BETWEEN_LOOKS_SECONDS)

    async def refresh(self) -> None:
        """Learns what has happened elsewhere, unless that was just done.

        Raises `StoreUnavailable`. Does nothing where nobody shares the store.
        """
        if self._neighbours is None:
            return
        async with self._looking:
            now = self._clock.now()
            if now - self._looked_at < _BETWEEN_LOOKS_MILLIS:
                return
            self._looked_at = now
            newest = {key: each.series.newest for key, each in self._elsewhere.items()}
            self._count(await self._neighbours.counts(newest))
            waiting = self._matching.queued
            await self._matching.look()
            if self._matching.queued != waiting:
                self.recent.crowd_changed()
            open_here = [each for each in self.recent.open if each not in self._seats.under_way]
            for job in await self._neighbours.cluster.latest(_JOBS_AT_ONCE, open_here):
                self.recent.found(job)

    def _count(self, heard: dict[str, Counts]) -> None:
        now, version = self._clock.now(), self.recent.version + 1
        news = [
            self._elsewhere.setdefault(key, Elsewhere()).heard(counts, now, version)
            for key, counts in heard.items()
        ]
        if any(news):
            self.recent.crowd_changed()
        for key in [key for key in self._elsewhere if not self._is_there(key)]:
            if self._elsewhere[key].series.is_over(now):
                del self._elsewhere[key]

    def _is_there(self, coordinator_key: str) -> bool:
        return self._neighbours is not None and self._neighbours.has(coordinator_key)

    @property
    def _all_series(self) -> list[Series]:
        return [self.recent.series, *(each.series for each in self._elsewhere.values())]

    async def _leases(self) -> Leases:
        return {} if self._neighbours is None else await self._neighbours.cluster.leases()

    def _running_elsewhere(self, leases: Leases) -> int:
        """How many jobs workers have that do not sit here."""
        away = [jobs for key, jobs in leases.items() if self._seats.with_key(key) is None]
        return sum(sum(jobs.values()) for jobs in away)

    async def _workers(self, leases: Leases) -> list[KnownWorker]:
        places: list[Seat | Sitting] = [*self._seats, *self._seats.others.values()]
        standings = await self._records.standings([place.key for place in places])
        return [self._known(place.key, place, standings[place.key], leases) for place in places]

    def _known(
        self, key: str, place: Seat | Sitting | None, standing: Standing, leases: Leases
    ) -> KnownWorker:
        graded = grade_of(place, grade(standing, self._clock.now(), self._limits))
        return KnownWorker(key, standing, graded, place, jobs_of(place, leases))
