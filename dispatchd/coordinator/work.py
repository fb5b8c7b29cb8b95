"""The coordinator's verbs for workers: join, claim, report, hand in, fail, leave.

Whoever serves a worker, the socket edge or the node itself, speaks for its seat. A verb for a
lease that the seat does not hold raises `LeaseLost` and changes nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.seats import Held, Seat, Seats
from dispatchd.coordinator.underway import Underway
from dispatchd.core.card import WorkerCard
from dispatchd.core.clock import Clock
from dispatchd.core.errors import BadReceipt, Invalid, LeaseLost, Stopping, StoreUnavailable
from dispatchd.core.job import (
    ENDED,
    Assignment,
    Completion,
    Fault,
    Job,
    JobStatus,
    JobType,
    Lease,
    millis,
)
from dispatchd.core.limits import Limits
from dispatchd.core.receipt import verify
from dispatchd.core.record import Blame
from dispatchd.feed import Feed
from dispatchd.scheduler import WORKER_GONE, GiveUp, after_fault
from dispatchd.store import JobStore, TrustStore

log = logging.getLogger(__name__)

CANCELLED = "cancelled"
_REASON_CHARS_MAX = 200
_STORE_RETRY_SECONDS = 1.0


class _ErrorOutput(Struct):
    error: str | UnsetType = UNSET
    final: bool = False


class Work:
    """What workers may ask of a coordinator."""

    def __init__(
        self,
        jobs: JobStore,
        trust: TrustStore,
        seats: Seats,
        matching: Matching,
        feed: Feed,
        clock: Clock,
        limits: Limits,
        owed: asyncio.Event,
    ) -> None:
        self._owed = owed
        self._jobs = jobs
        self._trust = trust
        self._seats = seats
        self._matching = matching
        self._feed = feed
        self._moving = Underway()
        self._cancelling: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._limits = limits

    async def join(
        self, card: WorkerCard, active_jobs: Sequence[str] = (), *, local: bool = False
    ) -> Seat:
        """Gives a worker a seat; a seat that its key had before is no longer valid.

        Of the jobs that are leased to its key, it keeps those in `active_jobs`; the others are
        tried again, since a worker that does not mention them no longer has them. Raises `Invalid`
        where the key is that of this node's own worker, whose key file nobody else has.
        """
        if self._matching.stopping:
            raise Stopping
        former = self._seats.with_key(card.provider_pubkey)
        if former is not None and former.local:
            raise Invalid("provider_pubkey: this key belongs to the coordinator's own worker")
        if former is not None:
            self._vacate(former)
        seat = Seat(card, self._clock.now(), self._seats.under_way, local=local)
        self._seats.add(seat)
        self._feed.journal.crowd_changed()
        try:
            with self._moving.counted():
                await self._settle_in(seat, active_jobs)
        except BaseException:
            await self.leave(seat)
            raise
        if seat.left.is_set():
            raise LeaseLost("this connection was given up or replaced while it registered")
        return seat

    async def _settle_in(self, seat: Seat, active_jobs: Sequence[str]) -> None:
        """Finds out whom a worker is trusted by, and what it still holds.

        The seat is known already, so nothing that happens meanwhile is missed. Leases are taken
        over by a write, so that it comes after the last results of a former connection.
        """
        for user_id in await self._trust.users_of(seat.key):
            self._seats.trust(seat, user_id)
        until = seat.heard_at + millis(self._limits.lease_seconds)
        kept = await self._jobs.take_over(seat.key, active_jobs, seat.heard_at, until)
        for job in kept:
            seat.hold(job)
        for job in await self._jobs.held_by(seat.key):
            if seat.holds(Lease(job.id, job.attempt)) is None:
                await self._try_again(job, WORKER_GONE)

    async def leave(self, seat: Seat) -> None:
        """A worker has gone: what it held is tried again. Leaving twice does nothing."""
        if seat.left.is_set():
            return
        self._vacate(seat)
        with self._moving.counted():
            for held in list(seat.held.values()):
                try:
                    await self.end(seat, held, WORKER_GONE)
                except StoreUnavailable:
                    log.warning("job %s is tried again once its lease runs out", held.job.id)

    def heard(self, seat: Seat) -> None:
        """A worker has shown that it is alive."""
        seat.heard_at = self._clock.now()
        self._matching.heard(seat)

    async def claim(self, seat: Seat, job_types: frozenset[JobType]) -> Assignment:
        """Waits for a job that the worker can do."""
        if seat.left.is_set():
            raise LeaseLost("this connection has been replaced")
        return await self._matching.claim(seat, job_types)

    async def progress(self, seat: Seat, lease: Lease, text: str) -> None:
        """The worker is at it; `text` is what it has generated since it last said so.

        That the job runs is stored with the next text if the store is away: no attempt fails by it.
        """
        held = _held(seat, lease)
        self._feed.progress(lease, text)
        if not held.running:
            held.running = True
            try:
                await self._jobs.start(lease)
            except StoreUnavailable:
                held.running = False

    async def finish(self, seat: Seat, lease: Lease, done: Completion) -> None:
        """Completes a job, or fails its attempt where the output is an error.

        Raises `BadReceipt` where the receipt does not hold; the attempt has then failed.
        """
        held = _held(seat, lease)
        if (fault := reported_fault(done.output)) is not None:
            await self.end(seat, held, fault)
            return
        try:
            receipt = verify(
                done,
                job_id=lease.job_id,
                provider_pubkey=seat.key,
                payment_ref=held.job.payment_ref,
            )
        except BadReceipt:
            await self.end(seat, held, Fault("invalid_receipt", Blame.BAD_RECEIPTS))
            raise
        now = self._clock.now()
        try:
            await self._jobs.finish(held.job, replace(done, receipt=receipt), now)
        except LeaseLost:
            seat.drop(held)
            raise
        seat.drop(held)
        if held.job.payment_ref is not None:
            await self._finished_paid(lease.job_id)
            return
        self._feed.ended(
            replace(
                held.job,
                status=JobStatus.COMPLETED,
                output=done.output,
                receipt=receipt,
                signature=done.signature,
                completed_at=now,
                run_until=None,
            )
        )

    async def _finished_paid(self, job_id: str) -> None:
        """The result is released once the payment is captured, which may have been at commit."""
        self._owed.set()
        with contextlib.suppress(StoreUnavailable):  # watchers look again by themselves
            job = await self._jobs.get(job_id)
            if job is not None and job.status in ENDED:
                self._feed.ended(job)

    async def fail(self, seat: Seat, lease: Lease, fault: Fault) -> None:
        """Ends an attempt that failed."""
        await self.end(seat, _held(seat, lease), fault)

    async def cancel(self, job: Job, reason: str = CANCELLED) -> None:
        """Fails a job for a reason and takes it from its worker; raises `LeaseLost`.

        What has begun is done to the end though its caller is cancelled meanwhile: a job that is
        stored as failed must not be left with its worker.
        """
        task = asyncio.create_task(self._cancel(job, reason))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)
        await asyncio.shield(task)

    async def _cancel(self, job: Job, reason: str) -> None:
        with self._moving.counted():
            await self._jobs.fail(job, reason)
            self._feed.ended(_failed(job, reason))
            if job.status is JobStatus.PENDING:
                self._matching.leave_queue(1)
            self._release(job)

    async def lost(self, seat: Seat, lease: Lease) -> None:
        """Returns once the seat no longer holds a lease."""
        if (held := seat.holds(lease)) is not None:
            await held.ended.wait()

    async def end(self, seat: Seat, held: Held, fault: Fault) -> None:
        """Ends whatever attempt a seat holds, and lets the job be tried again or fail."""
        await self._try_again(held.job, fault)
        seat.drop(held)

    async def end_overdue(self, job: Job, fault: Fault) -> None:
        """Ends an attempt whose time is up, whether or not a seat holds it."""
        await self._try_again(job, fault)
        self._release(job)

    def _release(self, job: Job) -> None:
        """Whoever holds the job no longer does, and is told so."""
        seat = self._seats.with_key(job.worker_key or "")
        held = seat.holds(Lease(job.id, job.attempt)) if seat is not None else None
        if seat is not None and held is not None:
            seat.drop(held)

    async def let_finish(self, grace_seconds: float) -> None:
        """Waits for the jobs that run, so long at the most, and puts back those that still do.

        A job that is put back has not failed: its attempt does not count.
        """
        await self._matching.settled()
        await self._moving.ended()
        nothing_runs = asyncio.Event()
        watching = asyncio.create_task(self._until_nothing_runs(nothing_runs))
        try:
            await self._clock.wait(nothing_runs, grace_seconds)
        finally:
            watching.cancel()
        for seat in self._seats:
            for held in list(seat.held.values()):
                await self._put_back(held)
                seat.drop(held)
        await self._moving.ended()

    async def _until_nothing_runs(self, nothing_runs: asyncio.Event) -> None:
        while running := [held for seat in self._seats for held in seat.held.values()]:
            await asyncio.gather(*(held.ended.wait() for held in running))
        nothing_runs.set()

    async def _put_back(self, held: Held) -> None:
        try:
            await self._jobs.put_back(held.lease, held.job)
        except (LeaseLost, StoreUnavailable) as error:
            log.info("job %s is not put back: %s", held.job.id, error)

    async def _try_again(self, job: Job, fault: Fault) -> None:
        """Puts a leased job back or fails it; one that was quicker elsewhere is left alone."""
        refused = {refusal.worker_key for refusal in job.avoid} | {job.worker_key}
        others = self._seats.anyone_for(job.lane, lambda seat: seat.key not in refused)
        decision = after_fault(job, fault, self._clock.now(), self._limits, others_online=others)
        lease = Lease(job.id, job.attempt)
        log.info("job %s attempt %d failed: %s", job.id, job.attempt, fault.reason)
        try:
            if isinstance(decision, GiveUp):
                reason = decision.reason[:_REASON_CHARS_MAX]
                await self._jobs.fail(decision.job, reason, fault.blame)
                self._feed.ended(_failed(decision.job, reason))
                return
            await self._jobs.put_back(lease, decision.job, fault.blame)
        except LeaseLost:
            return
        self._feed.returned(job, fault.reason[:_REASON_CHARS_MAX])
        self._matching.job_returns(decision.job.lane)

    def _vacate(self, seat: Seat) -> None:
        """From now on the seat gets nothing and counts as nobody."""
        self._seats.remove(seat, self._clock.now())
        self._matching.withdraw(seat)
        seat.left.set()
        self._feed.journal.crowd_changed()


class SeatedWorker:
    """The `WorkSource` of a worker in this process: its seat, and the verbs for it."""

    def __init__(self, work: Work, card: WorkerCard, clock: Clock, limits: Limits) -> None:
        self._work = work
        self._card = card
        self._clock = clock
        self._beat_seconds = limits.renew_seconds
        self._seat: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Holds the seat for as long as this runs."""
        seat = await self._take_seat()
        self._seat.set_result(seat)
        try:
            while True:
                await self._clock.sleep(self._beat_seconds)
                self._work.heard(seat)
        finally:
            await self._work.leave(seat)

    async def _take_seat(self) -> Seat:
        while True:
            try:
                return await self._work.join(self._card, local=True)
            except StoreUnavailable as error:
                log.warning("the node's own worker cannot start yet: %s", error)
                await self._clock.sleep(_STORE_RETRY_SECONDS)

    async def claim(self, job_types: frozenset[JobType]) -> Assignment:
        """Waits for a job."""
        return await self._work.claim(await self._seat, job_types)

    async def progress(self, lease: Lease, text: str) -> None:
        """Passes text on."""
        await self._work.progress(await self._seat, lease, text)

    async def lost(self, lease: Lease) -> None:
        """Returns once the lease is lost."""
        await self._work.lost(await self._seat, lease)

    async def finish(self, lease: Lease, done: Completion) -> None:
        """Hands a result in."""
        await self._work.finish(await self._seat, lease, done)

    async def fail(self, lease: Lease, fault: Fault) -> None:
        """Reports a failed attempt."""
        await self._work.fail(await self._seat, lease, fault)


def _failed(job: Job, reason: str) -> Job:
    return replace(job, status=JobStatus.FAILED, error=reason, run_until=None)


def _held(seat: Seat, lease: Lease) -> Held:
    held = seat.holds(lease)
    if held is None or seat.left.is_set():
        raise LeaseLost(f"job {lease.job_id} is not leased to this connection")
    return held


def reported_fault(output: str) -> Fault | None:
    """What an output says that is an error, `{"error": "code"}`; our workers may add `final`."""
    try:
        found = msgspec.json.decode(output, type=_ErrorOutput)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(found.error, str):
        return None
    return Fault(found.error, final=found.final)
