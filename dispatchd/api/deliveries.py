"""Pushes jobs to a worker on a socket: claims them in its name, and watches over them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator

from msgspec import UNSET

from dispatchd.coordinator.seats import Held, Seat
from dispatchd.coordinator.work import Work
from dispatchd.core.clock import Clock
from dispatchd.core.job import Assignment, JobType
from dispatchd.core.limits import Limits
from dispatchd.wire.messages import CoordinatorMessage, JobAssign, JobCancel, raw

Send = Callable[[CoordinatorMessage], Awaitable[None]]


class Deliveries:
    """The places of one connected worker, each with at most one job under way."""

    def __init__(self, work: Work, clock: Clock, limits: Limits, send: Send) -> None:
        self._work = work
        self._clock = clock
        self._limits = limits
        self._send = send
        self._answers: dict[str, asyncio.Event] = {}

    def places(self, seat: Seat) -> Iterator[Coroutine[None, None, None]]:
        """A loop for each place; those of jobs that came with the worker start out taken."""
        resumed = list(seat.held.values())
        for slots in seat.card.slots:
            for _ in range(slots.count):
                fitting = (held for held in resumed if held.job.job_type in slots.job_types)
                first = next(fitting, None)
                if first is not None:
                    resumed.remove(first)
                yield self._supply(seat, slots.job_types, first)

    def answered(self, job_id: str) -> None:
        """The worker has said that it is done with a job."""
        if (answer := self._answers.get(job_id)) is not None:
            answer.set()

    async def _supply(self, seat: Seat, job_types: frozenset[JobType], first: Held | None) -> None:
        if first is not None:
            await self._until_free(seat, first)
        while not seat.left.is_set():
            assignment = await self._work.claim(seat, job_types)
            if (held := seat.holds(assignment.lease)) is not None:
                await self._send(_frame(assignment))
                await self._until_free(seat, held)

    async def _until_free(self, seat: Seat, held: Held) -> None:
        """Waits until a lease has ended and the worker can take another job."""
        job_id, attempt = held.lease.job_id, held.lease.attempt
        answer = self._answers.setdefault(job_id, asyncio.Event())
        try:
            await held.ended.wait()
            if answer.is_set():
                return
            await self._send(JobCancel(job_id, attempt))
            if seat.card.version is None:
                # It does not know `job_cancel`, so it is busy until it says otherwise.
                await self._clock.wait(answer, self._limits.run_seconds(held.job.job_type))
        finally:
            self._answers.pop(job_id, None)


def _frame(assignment: Assignment) -> JobAssign:
    return JobAssign(
        job_id=assignment.lease.job_id,
        job_type=assignment.job_type,
        payload=raw(assignment.payload),
        policy=assignment.policy,
        privacy_class=assignment.privacy_class,
        user_id=assignment.user_id,
        attempt=assignment.lease.attempt,
        payment_ref=assignment.payment_ref or UNSET,
    )
