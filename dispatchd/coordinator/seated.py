"""The node's own worker as a source of work for itself: its seat, and the verbs for it."""

import asyncio
import logging
from collections.abc import Callable

from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.seats import Seat
from dispatchd.coordinator.work import Work
from dispatchd.core.card import WorkerCard
from dispatchd.core.clock import Clock
from dispatchd.core.errors import Invalid, StoreUnavailable
from dispatchd.core.job import Assignment, Completion, Fault, JobType, Lease
from dispatchd.core.limits import Limits

log = logging.getLogger(__name__)

_STORE_RETRY_SECONDS = 1.0
_KEY_RETRY_SECONDS = 5.0
_COPIED = "if its key file was copied, give each node one of its own (--key)"


class SeatedWorker:
    """The `WorkSource` of a worker in this process, whose key needs no proof.

    Its card tells more once its model is open, so it is asked for again with each claim.
    """

    def __init__(
        self,
        admission: Admission,
        work: Work,
        card: Callable[[], WorkerCard],
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._admission = admission
        self._work = work
        self._card = card
        self._clock = clock
        self._beat_seconds = limits.renew_seconds
        self._said = False
        self._tried = asyncio.Event()
        self._seat: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Holds the seat for as long as this runs."""
        seat = await self._take_seat()
        self._seat.set_result(seat)
        self._tried.set()
        try:
            while True:
                await self._clock.sleep(self._beat_seconds)
                self._work.heard(seat)
        finally:
            await self._admission.leave(seat)

    async def tried(self) -> None:
        """Returns once the seat is taken, or was refused for the first time."""
        await self._tried.wait()

    async def _take_seat(self) -> Seat:
        while True:
            try:
                return await self._admission.join(self._card(), local=True)
            except Invalid as error:
                if not self._said:
                    log.warning("the node's own worker does not work yet: %s; %s", error, _COPIED)
                self._said = True
                self._tried.set()
                await self._clock.sleep(_KEY_RETRY_SECONDS)
            except StoreUnavailable as error:
                log.warning("the node's own worker cannot start yet: %s", error)
                self._tried.set()
                await self._clock.sleep(_STORE_RETRY_SECONDS)

    async def claim(self, job_types: frozenset[JobType]) -> Assignment:
        """Waits for a job."""
        seat = await self._seat
        self._admission.says(seat, self._card())
        return await self._work.claim(seat, job_types)

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
