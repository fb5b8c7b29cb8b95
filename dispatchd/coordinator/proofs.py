"""Which workers hold their keys: who is given a canary for that, and who waits for the outcome."""

import asyncio
import logging
from collections.abc import Coroutine

from dispatchd.coordinator.canary import canary_for
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.seats import Held, Seat, Seats
from dispatchd.core.clock import Clock
from dispatchd.core.job import JobType, Lane, millis
from dispatchd.core.limits import Limits

log = logging.getLogger(__name__)


class Proofs:
    """Brings about the proofs that somebody needs, and tells who waits for them.

    A worker that was sent a challenge has a few seconds to answer it. Another one that somebody is
    paired with is given canaries, one after the other, with a pause where one proved nothing.
    """

    def __init__(self, seats: Seats, matching: Matching, clock: Clock, limits: Limits) -> None:
        self._seats = seats
        self._matching = matching
        self._clock = clock
        self._limits = limits
        self._news = asyncio.Event()
        self._pursued: dict[Seat, asyncio.Task[None]] = {}

    def begin(self, seat: Seat) -> None:
        """A worker that has not proven its key has come, and who trusts it is known."""
        if seat.challenge is not None:
            seat.proving = True
            self._seats.stir()
            self._pursue(seat, self._challenged(seat))
        else:
            self._need(seat)

    def trusted(self, seat: Seat, user_id: str) -> None:
        """A user has been paired with a connected worker."""
        self._seats.trust(seat, user_id)
        if seat.proven:
            self._matching.trusted(seat)
        else:
            self._need(seat)

    def shown(self, seat: Seat) -> None:
        """A worker has proven its key; showing it again does nothing."""
        if seat.settled.is_set():
            return
        seat.proven = True
        seat.proving, seat.due = False, None
        seat.left_over = {}
        seat.settled.set()
        self._seats.stir()
        self._tell()
        self._matching.trusted(seat)
        if not seat.local:
            log.info("worker %s has proven its key", seat.key[:8])

    def over(self, seat: Seat) -> None:
        """A worker has left, whether or not it has proven its key."""
        seat.proving, seat.due = False, None
        seat.settled.set()
        self._tell()

    def look_elsewhere(self) -> None:
        """Who sits at other coordinators, and what they have proven, is known anew."""
        self._tell()

    def take(self, seat: Seat, job_types: frozenset[JobType]) -> Held | None:
        """The canary that a free place of a worker must take before anything else, if any."""
        canary = seat.due
        if canary is None or canary.job_type not in job_types:
            return None
        seat.due = None
        if not seat.users:  # they have changed their minds
            self._give_up(seat)
            return None
        held = seat.hold_canary(canary)
        self._pursue(seat, self._handed(seat, held))
        return held

    async def anyone_for(self, lane: Lane) -> bool:
        """Whether PRIVATE jobs of a lane may be taken.

        Waits a little for a proof that is under way. Where it does not come, a worker that is busy
        may still have the job: it is queued behind the canary.
        """
        until = self._clock.now() + millis(self._limits.proof_wait_seconds)
        while not self._seats.anyone_for(lane):
            news, left = self._news, (until - self._clock.now()) / 1000
            awaited = self._seats.proving(lane)
            if left <= 0 or not (awaited or self._seats.proving_elsewhere(lane)):
                return any(seat.due is not None for seat in awaited)
            await self._clock.wait(news, left)
        return True

    def _need(self, seat: Seat) -> None:
        """Has a canary handed to a worker, unless nobody needs it or one is under way."""
        if not seat.users or seat.settled.is_set() or self._matching.stopping:
            return
        if seat.due is not None or seat in self._pursued:
            return
        canary = canary_for(seat.card, self._clock.now())
        seat.proving, seat.due = True, canary
        self._seats.stir()
        offer = self._matching.take_place(seat, canary.job_type)
        if offer is not None and (held := self.take(seat, offer.job_types)) is not None:
            offer.assignment.set_result(held.assignment)

    async def _challenged(self, seat: Seat) -> None:
        if not await self._clock.wait(seat.settled, self._limits.proof_seconds):
            self._give_up(seat)

    async def _handed(self, seat: Seat, held: Held) -> None:
        run_seconds = self._limits.run_seconds(held.job.job_type)
        if not await self._clock.wait(held.ended, run_seconds):
            seat.drop(held)
        if not seat.settled.is_set():
            self._give_up(seat)
            await self._clock.wait(seat.settled, self._limits.canary_pause_seconds)

    def _give_up(self, seat: Seat) -> None:
        """For now nobody may count on the proof."""
        seat.proving = False
        self._seats.stir()
        self._seats.no_longer_for(seat, seat.users, self._clock.now())
        self._tell()

    def _tell(self) -> None:
        """Rings for whoever waits for a proof; each looks for itself what has become of it."""
        self._news.set()
        self._news = asyncio.Event()

    def _pursue(self, seat: Seat, part: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(part)
        self._pursued[seat] = task
        task.add_done_callback(lambda done: self._pursued_so_far(seat, done))

    def _pursued_so_far(self, seat: Seat, task: asyncio.Task[None]) -> None:
        if self._pursued.get(seat) is task:
            del self._pursued[seat]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the proof of a worker's key is not pursued", exc_info=error)
        elif not task.cancelled():
            self._need(seat)
