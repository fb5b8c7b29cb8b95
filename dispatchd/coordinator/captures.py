"""Moves the money that is owed, and releases what was paid for.

An answer that does not come leaves unknown whether money has moved. So the same payment is sent
again until there is an answer, which moves nothing twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from dispatchd.coordinator.matching import Matching
from dispatchd.core.clock import Clock
from dispatchd.core.errors import FacilitatorAway, LeaseLost, StoreUnavailable
from dispatchd.core.job import ENDED, millis
from dispatchd.core.joblog import about, code_in, wordless
from dispatchd.core.payment import (
    PAYMENT_FAILED,
    AuthorizationKey,
    Payment,
    PaymentState,
    Reason,
    Settlement,
)
from dispatchd.feed import Feed
from dispatchd.payment import Facilitator
from dispatchd.payment.codec import parse_payment
from dispatchd.store import JobStore, PaymentStore

log = logging.getLogger(__name__)

_MOVED_BEFORE = frozenset({Reason.NONCE_USED, Reason.DUPLICATE})
_AT_ONCE = 16
_RETRY_SECONDS_MAX = 60
_STORE_RETRY_SECONDS = 1.0
_INSURANCE_SECONDS = 15.0


class Captures:
    """Captures the payments of jobs that have run, and those that are paid for at commit."""

    def __init__(
        self,
        payments: PaymentStore,
        jobs: JobStore,
        facilitator: Facilitator,
        matching: Matching,
        feed: Feed,
        clock: Clock,
        owed: asyncio.Event,
    ) -> None:
        self._payments = payments
        self._jobs = jobs
        self._facilitator = facilitator
        self._matching = matching
        self._feed = feed
        self._clock = clock
        self._owed = owed
        self._under_way: dict[AuthorizationKey, asyncio.Task[Settlement | None]] = {}
        # Commits that wait for their own captures must not keep others from theirs.
        self._due_under_way: set[AuthorizationKey] = set()

    async def run(self) -> None:
        """Captures what is due for as long as the node lives."""
        try:
            while True:
                self._owed.clear()
                try:
                    await self._begin_due()
                    seconds = await self._seconds_to_next()
                except StoreUnavailable as error:
                    log.warning("captures are put off: %s", error)
                    seconds = _STORE_RETRY_SECONDS
                if seconds > 0:
                    await self._clock.wait(self._owed, seconds)
        finally:
            for task in list(self._under_way.values()):
                task.cancel()

    async def settled(self) -> None:
        """Returns once no capture is under way."""
        while tasks := list(self._under_way.values()):
            await asyncio.wait(tasks)

    async def capture_for(self, job_id: str) -> Settlement | None:
        """Tries once to move a job's money; None where it is unknown whether it has moved."""
        payment = await self._payments.of_job(job_id)
        if payment is None:
            return None
        if payment.state is not PaymentState.CAPTURING:
            return payment.settlement
        return await asyncio.shield(self._under_way.get(payment.key) or self._begin(payment))

    def _begin(self, payment: Payment) -> asyncio.Task[Settlement | None]:
        task = asyncio.create_task(self._capture(payment), name=f"capture {payment.job_id}")
        self._under_way[payment.key] = task
        task.add_done_callback(lambda _: self._done(payment.key))
        return task

    def _done(self, key: AuthorizationKey) -> None:
        del self._under_way[key]
        self._due_under_way.discard(key)
        self._owed.set()

    async def _begin_due(self) -> None:
        free = _AT_ONCE - len(self._due_under_way)
        if free <= 0:
            return
        due = await self._payments.due(self._clock.now(), free + len(self._under_way))
        for payment in [each for each in due if each.key not in self._under_way][:free]:
            self._due_under_way.add(payment.key)
            self._begin(payment)

    async def _seconds_to_next(self) -> float:
        at = await self._payments.next_due()
        if at is None or self._under_way:
            return _INSURANCE_SECONDS
        return min(_INSURANCE_SECONDS, (at - self._clock.now()) / 1000)

    async def _capture(self, payment: Payment) -> Settlement | None:
        try:
            settlement = await self._facilitator.settle(
                parse_payment(payment.text or ""), payment.offer
            )
        except FacilitatorAway as error:
            about(log, payment.job_id, None).warning(
                "whether it is paid is not known yet: %s", error
            )
            await self._postpone(payment)
            return None
        except Exception as error:  # noqa: BLE001 - whatever broke, the money may have moved
            about(log, payment.job_id, None).exception("settling broke", exc_info=wordless(error))
            await self._postpone(payment)
            return None
        if payment.tries and settlement.reason in _MOVED_BEFORE:
            # An earlier try, whose answer never came, has moved the money.
            settlement = replace(settlement, success=True, reason=None, detail=None)
        await self._record(payment, settlement)
        return settlement

    async def _postpone(self, payment: Payment) -> None:
        seconds = min(_RETRY_SECONDS_MAX, 2**payment.tries)
        await self._until_stored(
            payment.job_id,
            lambda: self._payments.postpone(payment, self._clock.now() + millis(seconds)),
        )

    async def _record(self, payment: Payment, settlement: Settlement) -> None:
        """Stores how it ended, whatever it takes: the money has moved, or never will."""
        if settlement.success:
            stored = await self._until_stored(
                payment.job_id,
                lambda: self._payments.captured(payment, settlement.transaction, self._clock.now()),
            )
        else:
            reason = settlement.reason or Reason.SETTLE_ERROR
            about(log, payment.job_id, None).warning("its payment was refused: %s", code_in(reason))
            stored = await self._until_stored(
                payment.job_id, lambda: self._payments.refused(payment, reason, PAYMENT_FAILED)
            )
        if stored:
            await self._until_stored(payment.job_id, lambda: self._tell(payment.job_id))

    async def _until_stored(self, job_id: str, write: Callable[[], Awaitable[None]]) -> bool:
        """Whether it could be stored, as soon as that can be told."""
        while True:
            try:
                await write()
            except StoreUnavailable:
                await self._clock.sleep(_STORE_RETRY_SECONDS)
            except LeaseLost as error:
                about(log, job_id, None).info("%s", error)
                return False
            else:
                return True

    async def _tell(self, job_id: str) -> None:
        job = await self._jobs.get(job_id)
        if job is None:
            return
        if job.status in ENDED:
            self._feed.ended(job)
        else:
            self._matching.job_returns(job.lane)
