"""The coordinator's verbs for the HTTP edge: commit a job, look at it, pair users with workers."""

import secrets

from msgspec import Struct
from msgspec.structs import replace

from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.seats import Seats
from dispatchd.core.clock import Clock
from dispatchd.core.errors import NotFound, NoTrustedWorker
from dispatchd.core.job import Job, JobStatus, JobType, Privacy, Tier
from dispatchd.core.limits import Limits
from dispatchd.core.trust import Pairing, PairingCode
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


class Coordinator:
    """Takes jobs and answers for them."""

    def __init__(
        self,
        jobs: JobStore,
        trust: TrustStore,
        seats: Seats,
        matching: Matching,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._jobs = jobs
        self._trust = trust
        self._seats = seats
        self._matching = matching
        self._clock = clock
        self._limits = limits

    @property
    def workers_online(self) -> int:
        """How many workers are connected, the node's own included."""
        return len(self._seats)

    async def submit(self, order: Order, job_id: str) -> None:
        """Stores a job; once this returns, it survives anything that happens to the process.

        Raises `NoTrustedWorker` for a PRIVATE job that nobody online may do, stored as failed.
        """
        job = self._new_job(order, job_id)
        if job.privacy is Privacy.PRIVATE and not self._seats.anyone_for(job.lane):
            await self._jobs.add(replace(job, status=JobStatus.FAILED, error=NoTrustedWorker.code))
            raise NoTrustedWorker(job_id)
        await self._jobs.add(job)
        self._matching.job_waits(job.lane)

    async def get(self, job_id: str) -> Job:
        """A job by its id; raises `NotFound`."""
        job = await self._jobs.get(job_id)
        if job is None:
            raise NotFound("Job not found")
        return job

    async def create_code(self, user_id: str) -> PairingCode:
        """A fresh code with which a worker's owner can claim this user's trust."""
        now = self._clock.now()
        expires_at = now + round(self._limits.pairing_code_seconds * 1000)
        while True:
            code = PairingCode(secrets.token_hex(_CODE_BYTES).upper(), user_id, expires_at)
            if await self._trust.add_code(code, now):
                return code

    async def claim_code(self, code: str, provider_pubkey: str) -> Pairing:
        """Pairs the user of a code with a worker; raises `PairingRefused`."""
        pairing = await self._trust.claim_code(code, provider_pubkey, self._clock.now())
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
            created_at=now,
            rank=rank(order.tier, now, self._limits),
        )
