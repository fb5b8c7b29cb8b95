"""The coordinator's verbs for the HTTP edge: commit a job, look at it, pair users with workers."""

import contextlib
import secrets
from collections.abc import AsyncIterator

from msgspec import Struct
from msgspec.structs import replace

from dispatchd.coordinator.explain import Exclusion, explain
from dispatchd.coordinator.follow import News, Place, follow
from dispatchd.coordinator.guesses import Guesses
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.coordinator.work import CANCELLED, Work
from dispatchd.core.clock import Clock
from dispatchd.core.errors import (
    Conflict,
    LeaseLost,
    NotFound,
    NoTrustedWorker,
    Stopping,
    TooMany,
)
from dispatchd.core.job import (
    ENDED,
    Grant,
    IdempotencyKey,
    Job,
    JobFilter,
    JobStatus,
    JobType,
    Millis,
    Privacy,
    Tier,
    millis,
)
from dispatchd.core.limits import Limits
from dispatchd.core.record import WorkerRecord
from dispatchd.core.trust import Pairing, PairingCode
from dispatchd.feed import Feed
from dispatchd.scheduler import rank
from dispatchd.store import JobStore, TrustStore

_CODE_BYTES = 3


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


class Coordinator:
    """Takes jobs and answers for them."""

    def __init__(
        self,
        jobs: JobStore,
        trust: TrustStore,
        seats: Seats,
        matching: Matching,
        work: Work,
        feed: Feed,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._jobs = jobs
        self._trust = trust
        self._seats = seats
        self._matching = matching
        self._work = work
        self._feed = feed
        self._clock = clock
        self._limits = limits
        self._guesses = Guesses(limits)

    @property
    def workers_online(self) -> int:
        """How many workers are connected, the node's own included."""
        return len(self._seats)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the node at the moment, in sentences."""
        stopping = [str(Stopping())] if self._matching.stopping else []
        return stopping + ([self._jobs.problem] if self._jobs.problem is not None else [])

    def stop(self) -> None:
        """From now on no job is taken and none is given out; those that run go on."""
        self._matching.stop()

    async def submit(self, order: Order, job_id: str, key: str | None = None) -> Submitted:
        """Stores a job; once this returns, it survives anything that happens to the process.

        With an idempotency `key`, a repeated order gives the first one's job. Raises
        `NoTrustedWorker` for a PRIVATE job that nobody online may do, which is stored as failed;
        `Conflict`, `TooMany`, `Stopping`.
        """
        job = self._new_job(order, job_id)
        name = self._idempotency_key(order, key, job.created_at) if key is not None else None
        if name is not None and (older := await self._jobs.replay(name)) is not None:
            return Submitted(older, replayed=True)
        if self._matching.stopping:
            raise Stopping
        if job.privacy is Privacy.PRIVATE and not self._seats.anyone_for(job.lane):
            await self._jobs.add(replace(job, status=JobStatus.FAILED, error=NoTrustedWorker.code))
            raise NoTrustedWorker(job_id)
        reservation = self._matching.reserve(job)
        if reservation is None:
            return await self._enqueue(job, name)
        try:
            stored = await self._store(job, name, reservation.grant)
        except BaseException:
            self._matching.give_up(reservation)
            raise
        if stored.replayed:
            self._matching.give_up(reservation)
        else:
            await self._matching.deliver(reservation)
        return stored

    async def _enqueue(self, job: Job, name: IdempotencyKey | None) -> Submitted:
        try:
            with self._matching.place_in_queue():
                stored = await self._store(job, name)
        except TooMany:
            # Perhaps an equal request has just taken the last place.
            if name is not None and (older := await self._jobs.replay(name)) is not None:
                return Submitted(older, replayed=True)
            raise
        if stored.replayed:
            self._matching.leave_queue(1)
        else:
            self._matching.job_waits(job.lane)
        return stored

    async def _store(
        self, job: Job, name: IdempotencyKey | None, grant: Grant | None = None
    ) -> Submitted:
        open_max = self._limits.open_jobs_per_user_max
        job_id = await self._jobs.add(job, name, open_max, grant)
        return Submitted(job_id, replayed=job_id != job.id)

    async def wait(self, job_id: str, seconds: float) -> Job:
        """A job as it is when it has ended, or after so long; raises `NotFound`."""
        until = self._clock.now() + millis(seconds)
        try:
            with self._feed.watching(job_id) as (live, ring):
                if job_id not in self._seats.under_way:
                    job = await self.get(job_id)
                    if job.status in ENDED:
                        return job
                while live.ended is None and not self._feed.closed:
                    left = (until - self._clock.now()) / 1000
                    if left <= 0 or not await self._clock.wait(ring, left):
                        break
                    ring.clear()
                return live.ended or await self.get(job_id)
        except TooMany:
            return await self.get(job_id)

    def follow(self, job_id: str, place: Place) -> AsyncIterator[News]:
        """A job's life as it happens."""
        return follow(self.get, self._feed, self._clock, job_id, place)

    async def cancel(self, job_id: str) -> Job:
        """Ends a job as `cancelled`; its worker is told to stop.

        Raises `NotFound`, and `Conflict` where the job has ended otherwise.
        """
        while (job := await self.get(job_id)).status not in ENDED:
            with contextlib.suppress(LeaseLost):  # it has moved meanwhile: look again
                await self._work.cancel(job)
        if job.error != CANCELLED:
            raise Conflict(f"The job has {job.status} already")
        return job

    async def explain(self, job_id: str) -> tuple[Job, list[Exclusion]]:
        """Why a job waits: what keeps each connected worker from it; raises `NotFound`."""
        job = await self.get(job_id)
        return job, explain(job, self._seats, self._clock.now(), self._limits)

    async def list_jobs(self, wanted: JobFilter) -> list[Job]:
        """PUBLIC jobs, the newest first."""
        return await self._jobs.list_public(wanted)

    async def get(self, job_id: str) -> Job:
        """A job by its id; raises `NotFound`."""
        job = await self._jobs.get(job_id)
        if job is None:
            raise NotFound("Job not found")
        return job

    async def workers(self) -> list[tuple[Seat, WorkerRecord]]:
        """The workers that are connected, each with its record."""
        seats = list(self._seats)
        records = await self._jobs.records([seat.key for seat in seats])
        return [(seat, records.get(seat.key, WorkerRecord())) for seat in seats]

    @property
    def models(self) -> list[str]:
        """What LLM_INFER jobs can name: the models of connected workers that know that field."""
        ours = [seat.card for seat in self._seats if seat.card.version is not None]
        able = [card for card in ours if JobType.LLM_INFER in card.capabilities]
        return sorted({name for card in able for name in card.models})

    async def create_code(self, user_id: str) -> PairingCode:
        """A fresh code with which a worker's owner can claim this user's trust."""
        now = self._clock.now()
        expires_at = now + millis(self._limits.pairing_code_seconds)
        while True:
            code = PairingCode(secrets.token_hex(_CODE_BYTES).upper(), user_id, expires_at)
            if await self._trust.add_code(code, now):
                return code

    async def claim_code(self, code: str, provider_pubkey: str, address: str) -> Pairing:
        """Pairs the user of a code with a worker.

        Raises `PairingRefused`, and `TooMany` after too many wrong codes from this address.
        """
        now = self._clock.now()
        self._guesses.begin(address, now)
        pairing = await self._trust.claim_code(code, provider_pubkey, now)
        self._guesses.was_right(address)
        if (seat := self._seats.with_key(provider_pubkey)) is not None:
            self._seats.trust(seat, pairing.user_id)
            self._matching.trusted(seat)
        return pairing

    async def pairings_of(self, user_id: str) -> list[Pairing]:
        """The workers that a user is paired with."""
        return await self._trust.pairings_of(user_id)

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

    def _idempotency_key(self, order: Order, key: str, now: Millis) -> IdempotencyKey:
        since = now - millis(self._limits.idempotency_seconds)
        return IdempotencyKey(order.user_id, key, order.fingerprint, since)
