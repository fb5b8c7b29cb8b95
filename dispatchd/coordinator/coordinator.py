"""The coordinator's verbs for the HTTP edge: commit a job, look at it, pair users with workers."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING

from dispatchd.coordinator.follow import News, Place, follow
from dispatchd.coordinator.intake import Intake, Order, Submitted
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.neighbours import Neighbours
from dispatchd.coordinator.overview import Overview
from dispatchd.coordinator.proofs import Proofs
from dispatchd.coordinator.seats import Seats
from dispatchd.coordinator.users import Users
from dispatchd.coordinator.work import CANCELLED, Work
from dispatchd.core.chain import Bundle
from dispatchd.core.clock import Clock
from dispatchd.core.errors import (
    Conflict,
    LeaseLost,
    NotFound,
    PaymentRefused,
    Stopping,
    StoreUnavailable,
    TooMany,
)
from dispatchd.core.job import ENDED, Job, JobFilter, millis
from dispatchd.core.limits import Limits
from dispatchd.core.payment import Payment
from dispatchd.core.rate import Counted, Rate
from dispatchd.core.trust import Pairing, PairingCode
from dispatchd.feed import Feed
from dispatchd.store import JobStore, PaymentStore, TrustStore

if TYPE_CHECKING:  # a node without payments loads nothing of them
    from dispatchd.payment.payload import PaymentPayload

_CODE_BYTES = 3


class Coordinator:
    """Takes jobs and answers for them."""

    def __init__(
        self,
        intake: Intake,
        jobs: JobStore,
        payments: PaymentStore,
        trust: TrustStore,
        seats: Seats,
        matching: Matching,
        work: Work,
        proofs: Proofs,
        feed: Feed,
        users: Users,
        overview: Overview,
        clock: Clock,
        limits: Limits,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._neighbours = neighbours
        self._intake = intake
        self._jobs = jobs
        self._payments = payments
        self._trust = trust
        self._seats = seats
        self._matching = matching
        self._work = work
        self._proofs = proofs
        self._feed = feed
        self.users = users
        self.overview = overview
        self._clock = clock
        self._limits = limits
        self._wrong_codes = Rate(  # a code has 24 bits, so guessing must be slow
            name="wrong_code",
            per_address_max=limits.wrong_codes_per_address_max,
            in_all_max=limits.wrong_codes_max,
            refusal="Too many wrong pairing codes; try again later",
        )

    @property
    def problems(self) -> list[str]:
        """What is wrong with the node at the moment, in sentences."""
        stopping = [str(Stopping())] if self._matching.stopping else []
        others = [self._jobs.problem, self._intake.problem]
        return stopping + [problem for problem in others if problem is not None]

    async def checks(self) -> dict[str, str | None]:
        """What must hold for jobs to be taken: each check, and why it fails if it does."""
        return {
            "store": await _problem(self._jobs.check()),
            "migrations": await _problem(self._jobs.check_version()),
            "draining": str(Stopping()) if self._matching.stopping else None,
        }

    def stop(self) -> None:
        """From now on no job is taken and none is given out; those that run go on."""
        self._matching.stop()

    async def submit(
        self,
        order: Order,
        job_id: str,
        key: str | None = None,
        payment: "PaymentPayload | PaymentRefused | None" = None,
    ) -> Submitted:
        """Stores a job; once this returns, it survives anything that happens to the process.

        With an idempotency `key`, a repeated order gives the first one's job. Where jobs are sold,
        `payment` is what came to pay, or why what came is none. Raises `NoTrustedWorker` for a
        PRIVATE job that nobody online may do, which is stored as failed; `Conflict`, `TooMany`,
        `Stopping`, `PaymentRequired`, `TooManyOpenPayments`, `FacilitatorAway`.
        """
        return await self._intake.submit(order, job_id, key, payment)

    def is_neighbour(self, subject: str, ticket: str) -> bool:
        """Whether a ticket for that is of another coordinator over the same store."""
        return self._neighbours is not None and self._neighbours.is_ticket(subject, ticket)

    async def bundle_elsewhere(self, job: Job) -> Bundle | None:
        """The proof of a job that is in another coordinator's chain; None where it is in none.

        Raises `NotFound` where that coordinator cannot be asked and has not signed it before.
        """
        return None if self._neighbours is None else await self._neighbours.bundle(job)

    async def payment_for(self, job_id: str) -> Payment | None:
        """What pays for a job; None where it is free."""
        return await self._payments.of_job(job_id)

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
            if job.settling:
                raise Conflict("The job is being paid for at this moment; see how it ends")
            with contextlib.suppress(LeaseLost):  # it has moved meanwhile: look again
                await self._work.cancel(job)
        if job.error != CANCELLED:
            raise Conflict(f"The job has {job.status} already")
        return job

    async def list_jobs(self, wanted: JobFilter) -> list[Job]:
        """PUBLIC jobs and those of `private_of`, the newest first."""
        return await self._jobs.list_jobs(wanted)

    async def get(self, job_id: str) -> Job:
        """A job by its id; raises `NotFound`."""
        job = await self._jobs.get(job_id)
        if job is None:
            raise NotFound("Job not found")
        return job

    async def look(self, job_id: str) -> Job:
        """A job for what stays the same of it, such as whose it is; raises `NotFound`."""
        held = self._seats.under_way.get(job_id)
        return await self.get(job_id) if held is None else held.job

    @property
    def models(self) -> list[str]:
        """What LLM_INFER jobs can name: the models of connected workers that know that field."""
        return sorted(self._seats.models)

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
        counted = Counted(self._wrong_codes, address)
        pairing = await self._trust.claim_code(code, provider_pubkey, self._clock.now(), counted)
        if (seat := self._seats.with_key(provider_pubkey)) is not None:
            self._proofs.trusted(seat, pairing.user_id)
        return pairing

    async def unpair(self, user_id: str, provider_pubkey: str) -> None:
        """Ends a user's trust in a worker, which keeps the jobs that it has; raises `NotFound`."""
        if not await self._trust.remove(user_id, provider_pubkey):
            raise NotFound("The user is not paired with this worker")
        if (seat := self._seats.with_key(provider_pubkey)) is not None:
            self._seats.distrust(seat, user_id, self._clock.now())

    async def pairings_of(self, user_id: str) -> list[Pairing]:
        """The workers that a user is paired with."""
        return await self._trust.pairings_of(user_id)


async def _problem(check: Awaitable[None]) -> str | None:
    try:
        await check
    except StoreUnavailable as error:
        return str(error)
    return None
