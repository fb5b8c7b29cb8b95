"""A job: its kinds, its states and the moves between them, and the lease under which it runs."""

from enum import StrEnum
from types import MappingProxyType
from typing import Self

import msgspec
from msgspec import Struct

from dispatchd.core.record import Blame

Millis = int
"""A moment: whole milliseconds since 1970-01-01T00:00:00Z."""


def millis(seconds: float) -> Millis:
    """A span of time in the unit of moments."""
    return round(seconds * 1000)


class JobType(StrEnum):
    """What kind of work a job is."""

    LLM_INFER = "LLM_INFER"
    TASK = "TASK"


class Tier(StrEnum):
    """How urgent a job is, and which price it has."""

    FAST = "FAST"
    CHEAP = "CHEAP"


class Privacy(StrEnum):
    """Who may see a job: any worker, or only those its user is paired with."""

    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"


class JobStatus(StrEnum):
    """Where a job is in its life."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


Kind = tuple[JobType, Tier]
"""What a price depends on."""

MOVES = MappingProxyType(
    {
        JobStatus.PENDING: frozenset({JobStatus.ASSIGNED, JobStatus.FAILED}),
        JobStatus.ASSIGNED: frozenset(
            {JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.PENDING, JobStatus.FAILED}
        ),
        JobStatus.RUNNING: frozenset({JobStatus.COMPLETED, JobStatus.PENDING, JobStatus.FAILED}),
        JobStatus.COMPLETED: frozenset(),
        JobStatus.FAILED: frozenset(),
    }
)
"""Every move a job may make; a worker that reports nothing until the end skips `running`."""

ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED})
LEASED = frozenset({JobStatus.ASSIGNED, JobStatus.RUNNING})


class Lane(Struct, frozen=True, array_like=True):
    """What a pending job asks of a worker; jobs of one lane are interchangeable in that.

    The store keeps one queue for each lane, so that no job waits behind another that its own
    workers could not take. `retried` jobs have been turned down by a worker, which they avoid.
    """

    job_type: JobType
    user_id: str | None = None
    retried: bool = False
    extended: bool = False
    """It has fields of our part of the protocol, which only workers with a `version` know."""
    model: str | None = None

    @property
    def text(self) -> str:
        """The lane as the store writes it."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what `text` wrote."""
        return msgspec.json.decode(text, type=cls)

    def fits(self, job_types: frozenset[JobType], *, ours: bool, models: tuple[str, ...]) -> bool:
        """Whether a worker with these abilities, `ours` or not, knows what the jobs ask for."""
        if self.job_type not in job_types or (self.extended and not ours):
            return False
        return self.model is None or self.model in models


class Refusal(Struct, frozen=True, array_like=True):
    """A worker that turned a job down or failed at it, and when."""

    worker_key: str
    at: Millis


class Job(Struct, frozen=True, kw_only=True):
    """A job as the store holds it.

    `payload`, `output` and `receipt` are JSON texts exactly as they arrived. A lower `rank` goes
    first. `attempt` numbers the leases and only grows; `faults` counts the attempts that failed.
    A paid job has a `payment_ref` and must have ended at `end_by`. While it is `settling` its money
    is being moved: a pending one does not start before that, a running one has run, and its result
    is withheld.
    """

    id: str
    job_type: JobType
    tier: Tier
    privacy: Privacy
    user_id: str
    payload: str
    created_at: Millis
    rank: int
    extended: bool = False
    model: str | None = None
    status: JobStatus = JobStatus.PENDING
    attempt: int = 0
    faults: int = 0
    avoid: tuple[Refusal, ...] = ()
    worker_key: str | None = None
    run_until: Millis | None = None
    output: str | None = None
    receipt: str | None = None
    signature: str | None = None
    error: str | None = None
    completed_at: Millis | None = None
    payment_ref: str | None = None
    end_by: Millis | None = None
    settling: bool = False

    @property
    def kind(self) -> Kind:
        """Its type and tier."""
        return self.job_type, self.tier

    @property
    def lane(self) -> Lane:
        """The queue this job waits in."""
        private = self.user_id if self.privacy is Privacy.PRIVATE else None
        return Lane(self.job_type, private, bool(self.avoid), self.extended, self.model)


class Lease(Struct, frozen=True):
    """The right to run one attempt of a job; the store refuses whoever no longer has it."""

    job_id: str
    attempt: int


class Assignment(Struct, frozen=True):
    """A job handed to a worker, with the lease under which it runs.

    `job_type` is a plain string: another coordinator may know more types than this worker.
    """

    lease: Lease
    job_type: str
    payload: str
    policy: str = ""
    privacy_class: str = ""
    user_id: str = ""
    payment_ref: str | None = None


class Grant(Struct, frozen=True):
    """A decision to lease a pending job, as it was at `attempt`, to a worker until a moment.

    The lease ends at `lease_until` unless it is renewed, and at `run_until` in any case.
    """

    job: Job
    worker_key: str
    lease_until: Millis
    run_until: Millis

    @property
    def leased(self) -> Job:
        """The job as it is once the store has agreed."""
        return msgspec.structs.replace(
            self.job,
            status=JobStatus.ASSIGNED,
            attempt=self.job.attempt + 1,
            worker_key=self.worker_key,
            run_until=self.run_until,
        )


class Completion(Struct, frozen=True):
    """What a worker hands in: texts exactly as it printed and signed them.

    `output_hash` and `receipt` are over the UTF-8 of `output`; `signature` is base64.
    """

    output: str
    output_hash: str
    receipt: str
    signature: str


class Fault(Struct, frozen=True):
    """Why an attempt failed, and what goes into the worker's record.

    `final`: the same worker would fail at this job again.
    """

    reason: str
    blame: Blame = Blame.FAILED
    final: bool = False

    @property
    def refused(self) -> bool:
        """Whether the worker itself turned the job down or failed at it, so others come first."""
        return self.blame not in {Blame.TIMED_OUT, Blame.LOST}


class JobFilter(Struct, frozen=True):
    """Which jobs to list: `limit` at the most, those before the job `after` in the list's order."""

    user_id: str | None = None
    status: JobStatus | None = None
    after: str | None = None
    limit: int = 50
    private_of: str | None = None
    """The user whose PRIVATE jobs may be among them."""


class IdempotencyKey(Struct, frozen=True):
    """A client's name for a commit. It stands for the first body that it came with."""

    user_id: str
    key: str
    fingerprint: str
    since: Millis
    """Keys from before that moment no longer stand for anything."""
