"""The network as a whole, whichever of its coordinators is asked."""

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from msgspec import Struct

from dispatchd.coordinator.elsewhere import Elsewhere
from dispatchd.coordinator.explain import Exclusion, explain
from dispatchd.coordinator.known import KnownWorker, Leases, grade_of, jobs_of
from dispatchd.coordinator.life import Step, merged, stored_steps, whole
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.recent import Recent
from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.coordinator.series import Bucket, Counts, Series, summed
from dispatchd.core.clock import Clock
from dispatchd.core.job import Job
from dispatchd.core.limits import Limits
from dispatchd.core.neighbour import Sitting
from dispatchd.core.standing import Standing
from dispatchd.feed import Feed
from dispatchd.scheduler import grade
from dispatchd.store import RecordStore


class Numbers(Struct, frozen=True):
    """How much goes on: now, and since the coordinators that live began (`completed`, `failed`)."""

    workers_online: int
    waiting: int
    running: int
    completed: int
    failed: int
    completed_in_last_minute: int


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
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """`elsewhere` is there where others may share the store; else nothing is read for them."""
        self._seats = seats
        self._matching = matching
        self._records = records
        self._feed = feed
        self.recent = recent
        self._clock = clock
        self._limits = limits
        self._elsewhere = elsewhere
        self._watchers = 0
        self._watched = asyncio.Event()

    @property
    def workers_online(self) -> int:
        """How many workers are connected, to this or another coordinator."""
        there = self._seats.elsewhere.keys
        return len(there) + sum(seat.key not in there for seat in self._seats)

    async def workers(self) -> list[KnownWorker]:
        """The workers that are connected, wherever they sit."""
        return await self._workers(await self._leases())

    async def known_workers(self, after: str, limit: int) -> list[KnownWorker]:
        """Workers that are connected or have a record: those after a key, in the keys' order."""
        stored = await self._records.known(after, limit)
        online = {key for key in self._seats.online if key > after}
        keys = heapq.nsmallest(limit, stored.keys() | online)
        new = await self._records.standings([key for key in keys if key not in stored])
        leases = await self._leases()
        return [
            self._known(key, self._seats.place_of(key), (stored | new)[key], leases) for key in keys
        ]

    async def explain(self, job: Job) -> list[Exclusion]:
        """Why a job waits: what keeps each connected worker from it."""
        workers, others = await self.workers(), self._seats.others_for(job)
        return explain(job, workers, self._clock.now(), self._limits, others_online=others)

    async def timeline(self, job: Job) -> tuple[list[Step], bool]:
        """What has happened to a job, and whether that is all."""
        seen = self.seen(job.id)
        if self._elsewhere is not None and not whole(seen, job):
            seen = [*seen, *await self._elsewhere.steps(job.id)]
        return merged(seen, stored_steps(job)), whole(seen, job)

    def seen(self, job_id: str) -> list[Step]:
        """What this coordinator has itself seen of a job, while that is among the latest."""
        life = self.recent.life(job_id)
        return [] if life is None else life.steps

    async def glance(self, workers_max: int) -> tuple[list[KnownWorker], Numbers]:
        """The connected workers, so many at the most, and how much goes on."""
        leases = await self._leases()
        workers, now = await self._workers(leases, workers_max), self._clock.now()
        completed, failed = (0, 0) if self._elsewhere is None else self._elsewhere.totals
        running = sum(sum(jobs.values()) for jobs in leases.values())
        numbers = Numbers(
            workers_online=self.workers_online,
            waiting=self._matching.queued,
            running=len(self._seats.under_way) + running,
            completed=self.recent.completed + completed,
            failed=self.recent.failed + failed,
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
        if self._elsewhere is not None:
            await self._elsewhere.keep_up(self._watched)

    async def refresh(self) -> None:
        """Learns what has happened elsewhere, unless that was just done.

        Raises `StoreUnavailable`. Does nothing where nobody shares the store.
        """
        if self._elsewhere is not None:
            await self._elsewhere.refresh()

    @property
    def _all_series(self) -> list[Series]:
        others = [] if self._elsewhere is None else self._elsewhere.series
        return [self.recent.series, *others]

    async def _leases(self) -> Leases:
        return {} if self._elsewhere is None else await self._elsewhere.leases()

    async def _workers(self, leases: Leases, most: int | None = None) -> list[KnownWorker]:
        places = {key: self._seats.place_of(key) for key in islice(self._seats.online, most)}
        standings = await self._records.standings(list(places))
        return [self._known(key, place, standings[key], leases) for key, place in places.items()]

    def _known(
        self, key: str, place: Seat | Sitting | None, standing: Standing, leases: Leases
    ) -> KnownWorker:
        graded = grade_of(place, grade(standing, self._clock.now(), self._limits))
        return KnownWorker(key, standing, graded, place, jobs_of(place, leases))
