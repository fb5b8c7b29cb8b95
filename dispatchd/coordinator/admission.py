"""Who sits under a key: workers that come and go, prove their keys, and take one another's place.

Among connections that have not proven their key, the newest has the place. One that has proven it
gives way to another that proves it too, or where it no longer answers. Until then a newcomer waits:
it is given nothing, and what is leased to its key stays as it is.
"""

import logging
from collections.abc import Sequence

from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.proofs import Proofs
from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.coordinator.work import Work
from dispatchd.core.card import WorkerCard
from dispatchd.core.clock import Clock
from dispatchd.core.errors import DispatchError, Invalid, LeaseLost, Stopping
from dispatchd.core.job import Lease, millis
from dispatchd.core.keys import signature_holds
from dispatchd.core.limits import Limits
from dispatchd.core.proof import proof_text
from dispatchd.feed import Feed
from dispatchd.scheduler import WORKER_GONE
from dispatchd.store import JobStore, TrustStore

log = logging.getLogger(__name__)


class Admission:
    """What a worker may ask of a coordinator before and after its work."""

    def __init__(
        self,
        jobs: JobStore,
        trust: TrustStore,
        seats: Seats,
        matching: Matching,
        proofs: Proofs,
        work: Work,
        feed: Feed,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._jobs = jobs
        self._trust = trust
        self._seats = seats
        self._matching = matching
        self._proofs = proofs
        self._work = work
        self._feed = feed
        self._clock = clock
        self._limits = limits

    async def join(
        self, card: WorkerCard, active_jobs: Sequence[str] = (), *, local: bool = False
    ) -> Seat:
        """Gives a worker a seat, or has it wait for one; `admitted` says when it may work.

        Of the jobs that are leased to its key, it keeps those in `active_jobs` once it has proven
        that key; the others are tried again then. Without a proof they stay leased as they are, and
        run out with their time. Raises `Invalid` where the key is that of this node's own worker,
        whose key file nobody else has; where it is the own worker that comes, if others have it.
        """
        if self._matching.stopping:
            raise Stopping
        seat = Seat(card, self._clock.now(), self._seats.under_way, local=local)
        if seat.proven or seat.challenge is not None:
            # No more than the leases are kept: whoever knows a key may come, many times over.
            leased = await self._jobs.held_by(seat.key)
            seat.left_over = {job.id: Lease(job.id, job.attempt) for job in leased}
            seat.promised = tuple(job_id for job_id in active_jobs if job_id in seat.left_over)
        incumbent = self._seats.with_key(card.provider_pubkey)
        if incumbent is not None and incumbent.local:
            raise Invalid("provider_pubkey: this key belongs to the coordinator's own worker")
        there = self._seats.elsewhere.with_key(seat.key).values()
        if local and any(each.proven for each in there):
            raise Invalid(f"a worker at another coordinator works under its key {seat.key}")
        try:
            if incumbent is not None and incumbent.proven and not seat.proven:
                await self._wait_behind(seat)
            else:
                await self._sit(seat)
        except BaseException:
            await self.leave(seat)
            raise
        if seat.left.is_set():
            raise LeaseLost("this connection was given up or replaced while it registered")
        return seat

    async def admitted(self, seat: Seat) -> None:
        """Returns once a worker that has joined may be given jobs.

        Raises `Invalid` where its key has been proven by another connection, which lives, and it
        does not prove it too; `LeaseLost` where it has left. Whoever is not admitted has left.
        """
        try:
            await self._until_seated(seat)
        except DispatchError:
            await self.leave(seat)
            raise
        if seat.promised and not await self._clock.wait(seat.settled, self._limits.proof_seconds):
            seat.promised = ()
        if seat.left.is_set():
            raise LeaseLost("this connection was given up or replaced")

    async def _until_seated(self, seat: Seat) -> None:
        while self._seats.waits(seat):
            incumbent = self._seats.with_key(seat.key)
            if incumbent is None:
                await self._sit(seat)
            elif await self._answers(incumbent, seat):
                await self._prove_or_go(seat)
            elif self._seats.waits(seat):
                log.info("worker %s no longer answers on its old connection", seat.key[:8])
                await self.leave(incumbent)

    async def prove(self, seat: Seat, signature: str, host: str) -> bool:
        """Whether a worker's answer to its challenge, which `host` sent it, proves its key."""
        challenge = seat.challenge
        text = proof_text(seat.id, challenge or "", host)
        if challenge is None or not signature_holds(seat.key, text, signature):
            return False
        seat.challenge = None
        if not seat.left.is_set():
            seat.proven = True
            if self._seats.waits(seat):
                await self._sit(seat)
            else:
                await self._take_up(seat)
        return True

    def alive(self, seat: Seat) -> None:
        """A worker that was asked for a sign of life has given one."""
        seat.unanswered = False
        self._seats.tell_waiting(seat.key)

    async def leave(self, seat: Seat) -> None:
        """A worker has gone: what it held is tried again. Leaving twice does nothing."""
        if seat.left.is_set():
            return
        self._vacate(seat)
        await self._work.end_all(seat)

    def says(self, seat: Seat, card: WorkerCard) -> None:
        """The worker of a seat says more of itself than when it joined."""
        if card != seat.card:
            seat.card = card
            self._seats.stir()

    def moved(self, seat: Seat, *, proven: bool) -> None:
        """A worker sits at another coordinator by now; what it does not take along runs out.

        `proven`: it has proven its key there.
        """
        seat.displaced = proven
        self._vacate(seat)
        for held in list(seat.held.values()):
            seat.drop(held)

    async def _wait_behind(self, seat: Seat) -> None:
        former = self._seats.wait(seat)
        if former is not None:
            await self.leave(former)

    async def _answers(self, incumbent: Seat, newcomer: Seat) -> bool:
        """Asks the worker that sits for a sign of life, and waits for it.

        One that has not answered an earlier newcomer has no more time for that than it had.
        """
        newcomer.turn.clear()
        now = self._clock.now()
        if not incumbent.unanswered:
            incumbent.unanswered = True
            incumbent.answer_by = now + millis(self._limits.answer_seconds)
            incumbent.asked.set()
        await self._clock.wait(newcomer.turn, max(0, incumbent.answer_by - now) / 1000)
        return not (incumbent.unanswered or incumbent.left.is_set())

    async def _prove_or_go(self, seat: Seat) -> None:
        seat.turn.clear()
        if self._seats.waits(seat) and seat.challenge is not None:
            await self._clock.wait(seat.turn, self._limits.proof_seconds)
        incumbent = self._seats.with_key(seat.key)
        if self._seats.waits(seat) and incumbent is not None:
            raise Invalid(
                "provider_pubkey: another connection has proven that it holds this key, and lives"
            )

    async def _sit(self, seat: Seat) -> None:
        """Gives a worker the place of its key, and finds out who trusts it and how it stands.

        The seat is known before that is read, so nothing that happens meanwhile is missed.
        """
        former = self._seats.with_key(seat.key)
        if former is not None:
            former.displaced = seat.proven
            self._vacate(former)
        self._seats.add(seat)
        self._feed.journal.crowd_changed()
        with self._work.counted():
            if former is not None:
                for job_id in seat.promised:
                    if (held := former.held.get(job_id)) is not None:
                        former.drop(held)
                await self._work.end_all(former)
            users = await self._trust.users_of(seat.key)
            for user_id in users if not seat.left.is_set() else ():
                self._seats.trust(seat, user_id)
            await self._work.look_up(seat)
            if seat.proven:
                await self._take_up(seat)
            elif not seat.left.is_set():
                self._proofs.begin(seat)

    async def _take_up(self, seat: Seat) -> None:
        """A worker that has proven its key keeps what was promised to it.

        Leases are taken over by a write, so that it comes after the last results of a former
        connection. What is left over was leased by a former process, which may not have known
        whose key it was: that it is lost goes into no record. What becomes of the jobs of who has
        been replaced meanwhile is for its successor to say.
        """
        with self._work.counted():
            left_over, seat.left_over = seat.left_over, {}
            if seat.promised:
                now = self._clock.now()
                until = now + millis(self._limits.lease_seconds)
                kept = await self._jobs.take_over(seat.key, seat.promised, now, until)
                for job in kept if not seat.left.is_set() else ():
                    seat.hold(job)
            for job in await self._jobs.held_by(seat.key) if left_over else ():
                lease = Lease(job.id, job.attempt)
                lost = left_over.get(job.id) == lease and seat.holds(lease) is None
                if lost and not seat.left.is_set():
                    await self._work.try_again(job, WORKER_GONE, counts=False)
            self._proofs.shown(seat)

    def _vacate(self, seat: Seat) -> None:
        """From now on the seat gets nothing and counts as nobody."""
        self._seats.remove(seat, self._clock.now())
        self._matching.withdraw(seat)
        seat.left.set()
        self._proofs.over(seat)
        self._feed.journal.crowd_changed()
