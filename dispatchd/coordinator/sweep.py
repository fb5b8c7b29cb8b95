"""What time alone brings about: silent workers, leases that run out, jobs that nobody can do."""

import contextlib
import logging

from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.contact import Contact
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.seats import Seats
from dispatchd.coordinator.work import Work
from dispatchd.core.clock import Clock, passed
from dispatchd.core.errors import LeaseLost, NoTrustedWorker, StoreUnavailable
from dispatchd.core.job import Job, Lane, Lease, Millis, millis
from dispatchd.core.limits import Limits
from dispatchd.feed import Feed
from dispatchd.scheduler import TIMEOUT, WORKER_GONE, overdue_fault
from dispatchd.store import JobStore

log = logging.getLogger(__name__)

NO_ELIGIBLE_WORKER = "no_eligible_worker"
_OVERDUE_AT_ONCE = 256
_KEYS_EVERY: Millis = 3_600_000


class Sweep:
    """Looks every second at what is due."""

    def __init__(
        self,
        jobs: JobStore,
        seats: Seats,
        matching: Matching,
        admission: Admission,
        work: Work,
        feed: Feed,
        clock: Clock,
        limits: Limits,
        contact: Contact | None = None,
    ) -> None:
        """`contact`: with the store that other coordinators share, where some may."""
        self._contact = contact
        self._jobs = jobs
        self._seats = seats
        self._matching = matching
        self._admission = admission
        self._work = work
        self._feed = feed
        self._clock = clock
        self._limits = limits
        self._started_at = clock.now()
        self._renewed_at = clock.now()
        self._forgot_at = 0

    async def run(self) -> None:
        """Sweeps for as long as the node lives; a store that is away is asked again next time."""
        while True:
            await self._clock.sleep(self._limits.sweep_seconds)
            try:
                await self.once()
            except StoreUnavailable as error:
                log.warning("sweep put off: %s", error)

    async def once(self) -> None:
        """Does what is due now."""
        now = self._clock.now()
        await self._dismiss_silent(now)
        self._review()
        await self._renew(now)
        await self._end_overdue(now)
        await self._fail_stranded(now)
        await self._end_expired(now)
        await self._forget_keys(now)
        for lane in self._matching.lanes:
            if lane.retried:
                self._matching.job_waits(lane)

    async def _dismiss_silent(self, now: Millis) -> None:
        for seat in self._seats:
            seat.heard_at = min(seat.heard_at, now)  # the clock may have been set back
            if now - seat.heard_at >= millis(self._limits.lease_seconds):
                log.info("worker %s has been silent for too long", seat.key[:8])
                await self._admission.leave(seat)

    def _review(self) -> None:
        """Ends suspensions, and forgets what is long ago."""
        for seat in self._seats:
            if seat.standing.strikes.strikes:
                self._matching.review(seat)

    async def _renew(self, now: Millis) -> None:
        if not passed(self._renewed_at, now, self._limits.renew_seconds):
            return
        await self._jobs.check()
        lease_millis = millis(self._limits.lease_seconds)
        leases: dict[Lease, Millis] = {}
        for seat in self._seats:
            until = seat.heard_at + lease_millis
            leases.update({held.lease: until for held in seat.jobs})
        if leases:
            await self._jobs.renew(leases)
        self._renewed_at = now

    async def _end_overdue(self, now: Millis) -> None:
        """Ends what is overdue, but for leases that were only not renewed yet.

        After a break, other coordinators first get the time of a lease to renew those that they
        could not: their workers may live.
        """
        alive: dict[Lease, Millis] = {}
        overdue = await self._jobs.overdue(now, _OVERDUE_AT_ONCE)
        patient = self._contact is not None and not self._has_lasted(self._contact)
        for job in overdue:
            fault = overdue_fault(job, now)
            until = self._alive_until(job)
            if fault == WORKER_GONE and until > now:
                alive[Lease(job.id, job.attempt)] = until
            elif fault != WORKER_GONE or not patient:
                await self._work.end_overdue(job, fault)
        if alive:
            await self._jobs.renew(alive)

    def _has_lasted(self, contact: Contact) -> bool:
        """The store has just answered; whether it has done so for as long as a lease lasts."""
        contact.made()
        return contact.lasts(self._limits.lease_seconds)

    def _alive_until(self, job: Job) -> Millis:
        """Until when the job's worker counts as alive; 0 where it no longer sits here with it."""
        seat = self._seats.with_key(job.worker_key or "")
        if seat is None or seat.holds(Lease(job.id, job.attempt)) is None:
            return 0
        return seat.heard_at + millis(self._limits.lease_seconds)

    async def _fail_stranded(self, now: Millis) -> None:
        """Fails what has waited too long with nobody online who could do it."""
        patience = millis(self._limits.no_worker_seconds)
        for lane in self._matching.lanes:
            alone_since = max(self._started_at, self._seats.last_left(lane))
            if now - alone_since >= patience and not self._anyone_for(lane):
                failed = await self._jobs.fail_stranded(lane, now - patience, _reason(lane))
                self._matching.leave_queue(len(failed))
                watched = self._feed.watched(failed)
                unseen = {job_id: kind for job_id, kind in failed.items() if job_id not in watched}
                self._feed.journal.stranded(unseen, _reason(lane))
                for job_id in watched:
                    if (job := await self._jobs.get(job_id)) is not None:
                        self._feed.ended(job)
        self._seats.forget_left(now - patience)

    def _anyone_for(self, lane: Lane) -> bool:
        """Whether somebody online may do such jobs, or may soon be found to hold a trusted key."""
        seats = self._seats
        return seats.anyone_for(lane) or bool(seats.proving(lane)) or seats.proving_elsewhere(lane)

    async def _end_expired(self, now: Millis) -> None:
        """Fails the paid jobs that wait although they must have ended by now."""
        for job in await self._jobs.expired(now, _OVERDUE_AT_ONCE):
            with contextlib.suppress(LeaseLost):  # it has been assigned meanwhile
                await self._work.cancel(job, TIMEOUT)

    async def _forget_keys(self, now: Millis) -> None:
        """Once an hour, idempotency keys that no longer stand for anything."""
        if now - self._forgot_at >= _KEYS_EVERY:
            self._forgot_at = now
            await self._jobs.forget_keys(now - millis(self._limits.idempotency_seconds))


def _reason(lane: Lane) -> str:
    return NO_ELIGIBLE_WORKER if lane.user_id is None else NoTrustedWorker.code
