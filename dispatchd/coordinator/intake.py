"""Takes orders: each is checked, paid for where jobs are sold, and stored as a job."""

import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.seats import Seats
from dispatchd.core.clock import Clock
from dispatchd.core.errors import (
    NoEligibleWorker,
    NoTrustedWorker,
    PaymentRefused,
    PaymentRequired,
    Stopping,
    StoreUnavailable,
    TooMany,
)
from dispatchd.core.job import (
    Grant,
    IdempotencyKey,
    Job,
    JobStatus,
    JobType,
    Privacy,
    Tier,
    millis,
)
from dispatchd.core.limits import Limits
from dispatchd.core.payment import AuthorizationKey, Offer
from dispatchd.core.prices import price
from dispatchd.feed import Feed
from dispatchd.scheduler import rank
from dispatchd.store import JobStore

if TYPE_CHECKING:  # a node without payments loads nothing of them
    from dispatchd.coordinator.captures import Captures
    from dispatchd.coordinator.one_by_one import Line
    from dispatchd.coordinator.till import Till
    from dispatchd.payment.payload import PaymentPayload


class Order(Struct, frozen=True):
    """A valid request for a job."""

    job_type: JobType
    tier: Tier
    privacy: Privacy
    user_id: str
    payload: str
    extended: bool = False
    model: str | None = None
    fingerprint: str = ""
    """Equal for equal requests: the endpoint and the body."""


class Submitted(Struct, frozen=True):
    """The job that an order has become, or had become before."""

    job_id: str
    replayed: bool


class Sales(Struct, frozen=True):
    """What a coordinator that sells its jobs has besides."""

    till: "Till"
    captures: "Captures"


class Intake:
    """Makes jobs of orders; once a verb here returns, the job survives whatever happens."""

    def __init__(
        self,
        jobs: JobStore,
        seats: Seats,
        matching: Matching,
        feed: Feed,
        clock: Clock,
        limits: Limits,
        sales: Sales | None = None,
    ) -> None:
        self._journal = feed.journal
        self._jobs = jobs
        self._seats = seats
        self._matching = matching
        self._clock = clock
        self._limits = limits
        self._sales = sales

    @property
    def problem(self) -> str | None:
        """Why jobs cannot be sold at the moment, in a sentence; None where they can."""
        return self._sales.till.problem if self._sales is not None else None

    async def submit(
        self,
        order: Order,
        job_id: str,
        key: str | None,
        payment: "PaymentPayload | PaymentRefused | None",
    ) -> Submitted:
        """Stores a job, or finds the one that the same order has become before."""
        job = self._new_job(order, job_id)
        if self._sales is not None:
            return await self._sell(self._sales, order, job, key, payment)
        name = self._name(order, key, job)
        if (older := await self._replay(name)) is not None:
            return older
        await self._refuse_what_cannot_run(job)
        return await self._take(job, name)

    async def _sell(
        self,
        sales: Sales,
        order: Order,
        job: Job,
        key: str | None,
        came: "PaymentPayload | PaymentRefused | None",
    ) -> Submitted:
        offer = await sales.till.offer(price(order.tier, order.job_type))
        if came is None or isinstance(came, PaymentRefused):
            await self._refuse_what_cannot_run(job)
            raise PaymentRequired([offer], came)
        try:
            async with sales.till.alone_with(came, offer) as line:
                return await self._sell_for(sales, order, job, key, came, offer, line)
        except PaymentRefused as refused:
            await self._refuse_what_cannot_run(job)
            raise PaymentRequired([offer], refused) from None

    async def _sell_for(
        self,
        sales: Sales,
        order: Order,
        job: Job,
        key: str | None,
        payment: "PaymentPayload",
        offer: Offer,
        line: "Line",
    ) -> Submitted:
        """Sells for a payment that nobody else uses at the moment; raises `PaymentRefused`."""
        ordered = f"{order.user_id}\n{order.fingerprint}"
        if (older := await sales.till.replay(payment, offer, ordered)) is not None:
            return Submitted(older, replayed=True)
        sales.till.check(payment, offer)
        name = self._name(order, key, job, payment.payer)
        if (known := await self._replay(name)) is not None:
            return known
        await self._refuse_what_cannot_run(job)
        paid = await sales.till.reserve(payment, offer, ordered, job, line)
        authorization = payment.key(offer)
        try:
            stored = await self._take(paid, name, authorization)
        except BaseException:
            await sales.till.drop(authorization)
            raise
        if stored.replayed:
            await sales.till.drop(authorization)
        elif paid.settling:
            await self._capture_first(sales, job.id)
        return stored

    async def _capture_first(self, sales: Sales, job_id: str) -> None:
        """Moves the money before the job may start; if nobody knows whether it moved, it waits."""
        settlement = None
        with contextlib.suppress(StoreUnavailable):  # it is due, and will be captured
            settlement = await sales.captures.capture_for(job_id)
        if settlement is not None and not settlement.success:
            raise PaymentRefused(settlement.reason or "", settlement.detail or "")

    async def _refuse_what_cannot_run(self, job: Job) -> None:
        """Raises `Stopping`, `TooMany`, and `NoTrustedWorker`, whose job is stored as failed."""
        if self._matching.stopping:
            raise Stopping
        if job.privacy is Privacy.PRIVATE and not self._seats.anyone_for(job.lane):
            failed = replace(job, status=JobStatus.FAILED, error=NoTrustedWorker.code)
            await self._jobs.add(failed)
            self._journal.committed(job)
            self._journal.ended(failed)
            raise NoTrustedWorker(job.id)
        if self._sales is not None:
            self._matching.refuse_if_full()

    async def _take(
        self, job: Job, name: IdempotencyKey | None, paid_with: AuthorizationKey | None = None
    ) -> Submitted:
        if job.settling:
            if not self._seats.anyone_for(job.lane):
                raise NoEligibleWorker
            return await self._store(job, name, paid_with)
        reservation = self._matching.reserve(job)
        if reservation is None:
            return await self._enqueue(job, name, paid_with)
        try:
            stored = await self._store(job, name, paid_with, reservation.grant)
        except BaseException:
            self._matching.give_up(reservation)
            raise
        if stored.replayed:
            self._matching.give_up(reservation)
        else:
            await self._matching.deliver(reservation)
        return stored

    async def _enqueue(
        self, job: Job, name: IdempotencyKey | None, paid_with: AuthorizationKey | None
    ) -> Submitted:
        try:
            with self._matching.place_in_queue():
                stored = await self._store(job, name, paid_with)
        except TooMany:
            # Perhaps an equal request has just taken the last place.
            if (older := await self._replay(name)) is not None:
                return older
            raise
        if stored.replayed:
            self._matching.leave_queue(1)
        else:
            self._matching.job_waits(job.lane)
        return stored

    async def _store(
        self,
        job: Job,
        name: IdempotencyKey | None,
        paid_with: AuthorizationKey | None,
        grant: Grant | None = None,
    ) -> Submitted:
        open_max = self._limits.open_jobs_per_user_max
        payments_max = self._limits.open_payments_max
        job_id = await self._jobs.add(job, name, open_max, grant, paid_with, payments_max)
        if job_id == job.id:
            self._journal.committed(job)
        return Submitted(job_id, replayed=job_id != job.id)

    async def _replay(self, name: IdempotencyKey | None) -> Submitted | None:
        older = await self._jobs.replay(name) if name is not None else None
        return None if older is None else Submitted(older, replayed=True)

    def _new_job(self, order: Order, job_id: str) -> Job:
        now = self._clock.now()
        return Job(
            id=job_id,
            job_type=order.job_type,
            tier=order.tier,
            privacy=order.privacy,
            user_id=order.user_id,
            payload=order.payload,
            extended=order.extended,
            model=order.model,
            created_at=now,
            rank=rank(order.tier, now, self._limits),
        )

    def _name(
        self, order: Order, key: str | None, job: Job, payer: str | None = None
    ) -> IdempotencyKey | None:
        """The client's name for an order; that of a paid one is the payer's own."""
        if key is None:
            return None
        scope = order.user_id if payer is None else f"{order.user_id}\n{payer}"
        since = job.created_at - millis(self._limits.idempotency_seconds)
        return IdempotencyKey(scope, key, order.fingerprint, since)
