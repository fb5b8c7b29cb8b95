"""Where free places and waiting jobs meet: one loop, woken by a bell, never by polling.

What is kept here are hints of what to look at; the store alone knows which jobs wait. The cost of
a wake-up depends on what changed, not on how many workers are idle or how long the queues are.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from msgspec import Struct

from dispatchd.coordinator.bench import Bench
from dispatchd.coordinator.seats import Offer, Seat, Seats
from dispatchd.coordinator.underway import Underway
from dispatchd.core.clock import Clock, passed
from dispatchd.core.errors import LeaseLost, StoreUnavailable, TooMany
from dispatchd.core.job import Assignment, Grant, Job, JobType, Lane, Lease, Millis, millis
from dispatchd.core.joblog import about
from dispatchd.core.limits import Limits
from dispatchd.core.standing import Grade
from dispatchd.feed import Feed
from dispatchd.scheduler import grade, grant, may_offer
from dispatchd.store import JobStore

log = logging.getLogger(__name__)

JOBS_PER_LANE_MAX = 64
_INSURANCE_SECONDS = 15.0
_COUNT_SECONDS = 1.0
_STORE_RETRY_SECONDS = 1.0
_QUEUE_RETRY_SECONDS = 5.0
_HINTS_TO_LOOK_THROUGH = 16


class Reservation(Struct, frozen=True):
    """A free place that is kept for a job."""

    offer: Offer
    grant: Grant


class Matching:
    """The matching loop, and the bells that wake it."""

    def __init__(
        self, store: JobStore, seats: Seats, feed: Feed, clock: Clock, limits: Limits
    ) -> None:
        self._store = store
        self._seats = seats
        self._feed = feed
        self._clock = clock
        self._limits = limits
        self._bench = Bench(seats)
        self._lanes: set[Lane] = set()
        self._changed: set[Lane] = set()
        self._fresh: list[Offer] = []
        self._ring = asyncio.Event()
        self._ring.set()
        self._queued = 0
        self.stopping = False
        """Whether nobody is given a job any more."""
        self._looking = asyncio.Lock()
        self._looked_at = 0
        self._counted_at = 0
        self._reserved = Underway()

    @property
    def lanes(self) -> list[Lane]:
        """The lanes in which jobs may be waiting."""
        return list(self._lanes | self._changed)

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return self._queued

    def job_waits(self, lane: Lane) -> None:
        """Rings: a job of that lane has come, or may be offered again."""
        self._changed.add(lane)
        self._ring.set()

    def job_returns(self, lane: Lane) -> None:
        """A job is pending again."""
        self._queued += 1
        self.job_waits(lane)

    @contextmanager
    def place_in_queue(self) -> Iterator[None]:
        """Takes a place for a job that is being stored; raises `TooMany` where there is none."""
        self.refuse_if_full()
        self._queued += 1
        try:
            yield
        except BaseException:
            self._queued -= 1
            raise

    def refuse_if_full(self) -> None:
        """Raises `TooMany` where there is no place in the queue."""
        if self._queued >= self._limits.queue_jobs_max:
            raise TooMany("The queue is full", _QUEUE_RETRY_SECONDS)

    def leave_queue(self, count: int) -> None:
        """So many jobs no longer wait."""
        self._queued = max(0, self._queued - count)

    def reserve(self, job: Job) -> Reservation | None:
        """A free place for a job that is just being committed, if nothing waits for that place.

        Such a job is stored as assigned at once, and never stands in the queue.
        """
        waiting = self._lanes | self._changed
        if self.stopping or len(waiting) > _HINTS_TO_LOOK_THROUGH:
            return None
        offer = self._bench.best(job, lambda _: True, self._heard_after)
        if offer is None or any(offer.suits(lane) for lane in waiting):
            return None
        self._bench.take(offer)
        granted = grant(job, offer.seat.key, self._clock.now(), self._limits)
        self._reserved.begin()
        return Reservation(offer, granted)

    def give_up(self, reservation: Reservation) -> None:
        """The job has not been stored after all."""
        self._return_to_bench([reservation.offer])
        self._reserved.end()

    async def deliver(self, reservation: Reservation) -> None:
        """The job has been stored as assigned."""
        await self._deliver(reservation.offer, reservation.grant)
        self._reserved.end()

    def stop(self) -> None:
        """From now on nobody is given a job."""
        self.stopping = True

    async def claim(self, seat: Seat, job_types: frozenset[JobType]) -> Assignment:
        """Offers a place and waits until a job is assigned to it."""
        offer = Offer(seat, job_types)
        if not job_types <= seat.offered:
            seat.offered |= job_types
            self._feed.journal.crowd_changed()
        self._place_is_free(offer)
        try:
            return await offer.assignment
        finally:
            self._bench.remove(offer)

    def _place_is_free(self, offer: Offer) -> None:
        """Rings where jobs may be waiting; if none are, the next one that comes finds the place."""
        self._bench.add(offer)
        if self._lanes or self._changed:
            self._fresh.append(offer)
            self._ring.set()

    def trusted(self, seat: Seat) -> None:
        """A worker may now take jobs that it could not take before."""
        self._feed.journal.crowd_changed()
        self._fresh.extend(seat.offers)
        self._ring.set()

    def take_place(self, seat: Seat, job_type: JobType) -> Offer | None:
        """Takes a free place of a worker for a job that goes to it alone; None where all are taken.

        The job is handed over by setting the offer's assignment.
        """
        free = (offer for offer in seat.offers if not offer.assignment.done())
        offer = next((offer for offer in free if job_type in offer.job_types), None)
        if offer is not None:
            self._bench.take(offer)
        return offer

    def review(self, seat: Seat) -> None:
        """A worker's standing or time has changed: its free places go where they now belong.

        The node's own worker is never suspended. Its owner is the coordinator's own, so that there
        is nobody to protect, and on a node without others nobody would do its jobs.
        """
        graded = grade(seat.standing, self._clock.now(), self._limits)
        if graded is Grade.SUSPENDED and seat.local:
            graded = Grade.POOR
        if graded is seat.grade:
            return
        if Grade.SUSPENDED in {graded, seat.grade}:
            log.info("worker %s was %s and is %s now", seat.key[:8], seat.grade, graded)
        offers = list(seat.offers)
        self.withdraw(seat)
        seat.grade = graded
        self._seats.stir()
        self._feed.journal.crowd_changed()
        for offer in offers:
            self._place_is_free(offer)

    def withdraw(self, seat: Seat) -> None:
        """A worker's free places are no longer offered."""
        for offer in list(seat.offers):
            self._bench.remove(offer)

    async def prepare(self) -> None:
        """Looks at what waits already, before anything can be committed."""
        self._queued = await self._store.count_waiting()
        self._changed.update(await self._store.waiting_lanes())
        self._looked_at = self._clock.now()

    async def run(self) -> None:
        """Pairs jobs and places for as long as the node lives, one look at a time."""
        while True:
            await self._clock.wait(self._ring, _INSURANCE_SECONDS)
            self._ring.clear()
            if passed(self._looked_at, self._clock.now(), _INSURANCE_SECONDS):
                await self._look_at_store()
            async with self._looking:
                if not self.stopping:
                    await self._match(self._lanes_to_look_at())

    async def settled(self) -> None:
        """Returns once all that is under way has been delivered or put back."""
        async with self._looking:
            await self._reserved.ended()

    async def look(self) -> None:
        """Another coordinator has changed what waits; raises `StoreUnavailable`."""
        now = self._clock.now()
        if passed(self._counted_at, now, _COUNT_SECONDS):
            self._counted_at = now
            self._queued = await self._store.count_waiting()
        self._changed.update(await self._store.waiting_lanes())
        self._ring.set()

    async def _look_at_store(self) -> None:
        try:
            self._changed.update(await self._store.waiting_lanes())
            self._looked_at = self._clock.now()
        except StoreUnavailable as error:
            log.warning("cannot look for waiting jobs: %s", error)

    def _lanes_to_look_at(self) -> set[Lane]:
        """The lanes for which something changed, if a place is free for them."""
        changed, self._changed = self._changed, set()
        fresh, self._fresh = self._fresh, []
        self._lanes |= changed
        lanes = {lane for lane in changed if self._bench.serves(lane)}
        for offer in fresh:
            if not offer.assignment.done() and not offer.seat.left.is_set():
                lanes.update(self._lanes_for(offer))
        return lanes

    def _lanes_for(self, offer: Offer) -> set[Lane]:
        users: set[str | None] = {None, *offer.seat.users}
        abilities = [(False, None), (True, None), *((True, m) for m in offer.seat.card.models)]
        combinations = itertools.product(offer.job_types, users, (False, True), abilities)
        if len(users) * len(abilities) * 4 < len(self._lanes):
            possible = {Lane(kind, user, again, *able) for kind, user, again, able in combinations}
            lanes = possible & self._lanes
        else:
            lanes = self._lanes
        return {lane for lane in lanes if offer.suits(lane)}

    async def _match(self, lanes: set[Lane]) -> None:
        """Pairs what can be paired now; lanes that may have more are looked at again, in turn."""
        if not lanes:
            return
        try:
            jobs = await self._store.waiting({lane: self._look_ahead(lane) for lane in lanes})
            self._lanes -= lanes - {job.lane for job in jobs}
            pairs = self._pair(jobs)
            await self._assign(pairs)
        except StoreUnavailable as error:
            log.warning("cannot assign jobs: %s", error)
            self._changed |= lanes
            await self._clock.sleep(_STORE_RETRY_SECONDS)
            self._ring.set()
            return
        if pairs and (more := self._lanes & lanes):
            self._changed |= more
            self._ring.set()

    def _look_ahead(self, lane: Lane) -> int:
        """How many jobs of a lane to look at: retried ones may not suit the places there are."""
        free = max(1, len(self._bench))
        return JOBS_PER_LANE_MAX if lane.retried else min(JOBS_PER_LANE_MAX, free)

    def _pair(self, jobs: list[Job]) -> list[tuple[Offer, Grant]]:
        now = self._clock.now()
        pairs = []
        for job in jobs:
            offer = self._bench.best(job, partial(self._may_offer, job), self._heard_after)
            if offer is not None:
                self._bench.take(offer)
                pairs.append((offer, grant(job, offer.seat.key, now, self._limits)))
        return pairs

    @property
    def _heard_after(self) -> Millis:
        """Workers that have said nothing since then are silent: half a lease is gone."""
        return self._clock.now() - millis(self._limits.lease_seconds / 2)

    def _may_offer(self, job: Job, seat: Seat) -> bool:
        if not job.avoid:
            return True
        others = self._seats.others_for(job)
        now = self._clock.now()
        return may_offer(job, seat.key, now, self._limits, others_online=others)

    async def _assign(self, pairs: list[tuple[Offer, Grant]]) -> None:
        if not pairs:
            return
        try:
            agreed = await self._store.assign([granted for _, granted in pairs])
        except StoreUnavailable:
            self._return_to_bench([offer for offer, _ in pairs])
            raise
        for (offer, granted), stands in zip(pairs, agreed, strict=True):
            if stands:
                self.leave_queue(1)
                await self._deliver(offer, granted)
            else:
                self._return_to_bench([offer])

    async def _deliver(self, offer: Offer, granted: Grant) -> None:
        """Hands the assignment over; if the place has gone meanwhile, the job goes back."""
        leased = granted.leased
        if not (offer.assignment.done() or offer.seat.left.is_set() or self.stopping):
            offer.assignment.set_result(offer.seat.hold(leased).assignment)
            self._feed.assigned(leased)
            return
        try:
            await self._store.put_back(Lease(leased.id, leased.attempt), granted.job)
        except LeaseLost:
            return  # its worker has come back on another connection, and has been dealt with
        except StoreUnavailable as error:
            about(log, leased.id, leased.attempt).warning("waits for its lease to end: %s", error)
            return
        self.job_returns(granted.job.lane)

    def _return_to_bench(self, offers: list[Offer]) -> None:
        for offer in offers:
            if not offer.assignment.done() and not offer.seat.left.is_set():
                self._place_is_free(offer)
