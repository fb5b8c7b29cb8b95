"""The coordinator's verbs for workers that have joined: claim, report, hand in, fail.

Whoever serves a worker, the socket edge or the node itself, speaks for its seat. A verb for a
lease that the seat does not hold raises `LeaseLost` and changes nothing.
"""

import asyncio
import contextlib
import logging
from contextlib import AbstractContextManager
from functools import partial

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from dispatchd.coordinator.canary import passed
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.proofs import Proofs
from dispatchd.coordinator.seats import Held, Seat, Seats
from dispatchd.coordinator.underway import Underway
from dispatchd.core.clock import Clock
from dispatchd.core.errors import BadReceipt, LeaseLost, StoreUnavailable
from dispatchd.core.job import (
    ENDED,
    Assignment,
    Completion,
    Fault,
    Job,
    JobStatus,
    JobType,
    Lease,
)
from dispatchd.core.joblog import about, code_in
from dispatchd.core.limits import Limits
from dispatchd.core.receipt import verify
from dispatchd.core.record import Blame
from dispatchd.core.standing import Blamed, Standing
from dispatchd.feed import Feed
from dispatchd.scheduler import WORKER_GONE, GiveUp, after_fault, strikes_after
from dispatchd.store import JobStore, RecordStore

log = logging.getLogger(__name__)

CANCELLED = "cancelled"
MISSING_RECEIPT = "missing_receipt"
_REASON_CHARS_MAX = 200


class _ErrorOutput(Struct):
    error: str | UnsetType = UNSET
    final: bool = False


class Work:
    """What workers may ask of a coordinator."""

    def __init__(
        self,
        jobs: JobStore,
        records: RecordStore,
        seats: Seats,
        matching: Matching,
        proofs: Proofs,
        feed: Feed,
        clock: Clock,
        limits: Limits,
        owed: asyncio.Event,
    ) -> None:
        self._owed = owed
        self._jobs = jobs
        self._records = records
        self._seats = seats
        self._matching = matching
        self._proofs = proofs
        self._feed = feed
        self._moving = Underway()
        self._cancelling: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._limits = limits

    def heard(self, seat: Seat) -> None:
        """A worker has shown that it is alive."""
        seat.heard_at = self._clock.now()

    async def claim(self, seat: Seat, job_types: frozenset[JobType]) -> Assignment:
        """Waits for a job that the worker can do."""
        if seat.left.is_set():
            raise LeaseLost("this connection has been replaced")
        if seat.due is not None and (canary := self._proofs.take(seat, job_types)) is not None:
            return canary.assignment
        return await self._matching.claim(seat, job_types)

    async def progress(self, seat: Seat, lease: Lease, text: str) -> None:
        """The worker is at it; `text` is what it has generated since it last said so.

        That the job runs is stored with the next text if the store is away: no attempt fails by it.
        """
        held = _held(seat, lease)
        if held.canary:
            return
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
        if held.canary:
            await self._answered_canary(seat, held, done)
            return
        if (fault := reported_fault(done.output)) is not None:
            if not seat.proven:
                with contextlib.suppress(BadReceipt):
                    self._verified(seat, held, done)
            await self.end(seat, held, fault)
            return
        try:
            receipt = self._verified(seat, held, done)
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
        self._judge(seat, seat.standing.with_success())
        self._feed.journal.attempt_ended(held.job, None)
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

    def _verified(self, seat: Seat, held: Held, done: Completion) -> str:
        """The receipt as it was signed; the first that holds proves the worker's key.

        It covers the id of a job that was chosen here at random and assigned on this connection.
        """
        receipt = verify(
            done,
            job_id=held.job.id,
            provider_pubkey=seat.key,
            payment_ref=held.job.payment_ref,
        )
        if not seat.proven:
            self._proofs.shown(seat)
        return receipt

    async def _answered_canary(self, seat: Seat, held: Held, done: Completion) -> None:
        """The signature proves the key, whatever the answer. Raises `BadReceipt`."""
        try:
            self._verified(seat, held, done)
        finally:
            seat.drop(held)
        if (right := passed(held.job, done.output)) is not None:
            with contextlib.suppress(StoreUnavailable):  # it is answered, counted or not
                await self.canary_answered(seat, passed=right)

    async def _finished_paid(self, job_id: str) -> None:
        """The result is released once the payment is captured, which may have been at commit."""
        self._owed.set()
        with contextlib.suppress(StoreUnavailable):  # watchers look again by themselves
            job = await self._jobs.get(job_id)
            if job is not None and job.status in ENDED:
                self._feed.ended(job)

    async def canary_answered(self, seat: Seat, *, passed: bool) -> None:
        """Counts a canary of the worker's; a failed one is shown, and not held against it."""
        await self._records.note_canary(seat.key, passed=passed)

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
        if not held.canary:
            await self.try_again(held.job, fault, counts=seat.proven)
        seat.drop(held)

    async def end_all(self, seat: Seat) -> None:
        """Ends what a worker that has gone held."""
        with self._moving.counted():
            for held in list(seat.held.values()):
                try:
                    await self.end(seat, held, WORKER_GONE)
                except StoreUnavailable:
                    seat.drop(held)
                    job = held.job
                    about(log, job.id, job.attempt).warning("is tried again once its lease ends")

    def counted(self) -> AbstractContextManager[None]:
        """What is done in it is waited for by `let_finish`."""
        return self._moving.counted()

    async def end_overdue(self, job: Job, fault: Fault) -> None:
        """Ends an attempt whose time is up, whether or not a seat holds it."""
        seat = self._seats.with_key(job.worker_key or "")
        holds = seat is not None and seat.holds(Lease(job.id, job.attempt)) is not None
        await self.try_again(job, fault, counts=seat is not None and holds and seat.proven)
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
            for held in seat.jobs:
                await self._put_back(held)
                seat.drop(held)
        await self._moving.ended()

    async def _until_nothing_runs(self, nothing_runs: asyncio.Event) -> None:
        while running := [held for seat in self._seats for held in seat.jobs]:
            await asyncio.gather(*(held.ended.wait() for held in running))
        nothing_runs.set()

    async def _put_back(self, held: Held) -> None:
        try:
            await self._jobs.put_back(held.lease, held.job)
        except (LeaseLost, StoreUnavailable) as error:
            about(log, held.job.id, held.job.attempt).info("is not put back: %s", error)

    async def try_again(self, job: Job, fault: Fault, *, counts: bool) -> None:
        """Puts a leased job back or fails it; one that was quicker elsewhere is left alone.

        The fault goes into the record of the worker's key where it `counts`: where it is known that
        the worker that held the job has that key.
        """
        now, limits = self._clock.now(), self._limits
        others = self._seats.others_for(job)
        decision = after_fault(job, fault, now, limits, others_online=others)
        judge = partial(strikes_after, job=job, fault=fault, now=now, limits=limits)
        lease, blamed = Lease(job.id, job.attempt), Blamed(fault.blame, judge) if counts else None
        about(log, job.id, job.attempt).info("failed: %s", code_in(fault.reason))
        self._feed.journal.attempt_ended(job, fault)
        try:
            if isinstance(decision, GiveUp):
                reason = decision.reason[:_REASON_CHARS_MAX]
                self._blame(job, await self._jobs.fail(decision.job, reason, blamed))
                self._feed.ended(_failed(decision.job, reason))
                return
            self._blame(job, await self._jobs.put_back(lease, decision.job, blamed))
        except LeaseLost:
            return
        self._feed.returned(job, fault.reason[:_REASON_CHARS_MAX])
        self._matching.job_returns(decision.job.lane)

    def _blame(self, job: Job, standing: Standing | None) -> None:
        """Whoever had the job stands so now."""
        seat = self._seats.with_key(job.worker_key or "")
        if seat is not None and standing is not None:
            self._judge(seat, standing)

    async def look_up(self, seat: Seat) -> None:
        """Finds out how a worker stands that has just come."""
        self._judge(seat, await self._records.standing(seat.key))

    def _judge(self, seat: Seat, standing: Standing) -> None:
        seat.standing = standing
        self._matching.review(seat)


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
