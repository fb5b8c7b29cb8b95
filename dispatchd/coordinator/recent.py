"""What has happened lately, in memory: the lives of the latest jobs, and the last minutes' numbers.

What is told here costs the same however many watch. Each change has a version, so that a watcher
asks for what is newer than what it has seen, and nothing is kept for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from dispatchd.coordinator.series import Bucket, Series
from dispatchd.core.clock import Clock
from dispatchd.core.job import (
    ENDED,
    Fault,
    Job,
    JobStatus,
    JobType,
    Kind,
    Lease,
    Millis,
    Privacy,
    Tier,
)

_LIVES_MAX = 256
_STEPS_MAX = 32


class Event(StrEnum):
    """What can happen to a job."""

    COMMITTED = "committed"
    ASSIGNED = "assigned"
    FIRST_TEXT = "first_text"
    RETURNED = "returned"
    """Its attempt has come to nothing, and it waits again."""
    COMPLETED = "completed"
    FAILED = "failed"


class Step(Struct, frozen=True):
    """One thing that happened to a job; `at` is None where only the store knows of it."""

    event: Event
    at: Millis | None
    attempt: int | None = None
    worker_key: str | None = None
    reason: str | None = None


class Life:
    """A job's life as this process has seen it; `whole` where it saw the commit."""

    def __init__(self, job: Job, *, whole: bool) -> None:
        self.id = job.id
        self.job_type: JobType = job.job_type
        self.tier: Tier = job.tier
        self.privacy = job.privacy
        self.user_id = job.user_id
        self.created_at = job.created_at
        self.paid = job.payment_ref is not None
        self.whole = whole
        self.status = job.status
        self.attempt = job.attempt
        self.worker_key = job.worker_key
        self.steps: list[Step] = []
        self.version = 0

    def seen_by(self, user_id: str | None) -> bool:
        """Whether whoever has shown the key of that user, or of nobody, may see it."""
        return self.privacy is Privacy.PUBLIC or self.user_id == user_id

    def add(self, step: Step) -> None:
        """One step more. Of too many, the first and the latest are kept."""
        if len(self.steps) >= _STEPS_MAX:
            del self.steps[1]
            self.whole = False
        self.steps.append(step)


class Recent:
    """The journal of a feed: everything that happens to jobs passes here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series = Series()
        self._lives: OrderedDict[str, Life] = OrderedDict()
        self._bell: asyncio.Event | None = None
        self.started_at = clock.now()
        self.version = 0
        self.completed = 0
        self.failed = 0

    def listen(self, version: int) -> asyncio.Event:
        """An event that is set once something is newer than that version."""
        if self.version > version:
            happened = asyncio.Event()
            happened.set()
            return happened
        if self._bell is None:
            self._bell = asyncio.Event()
        return self._bell

    def life(self, job_id: str) -> Life | None:
        """A job's life, while it is among the latest."""
        return self._lives.get(job_id)

    def lives(self, version: int, user_id: str | None, most: int) -> list[Life]:
        """The latest lives that changed after a version and that user may see, newest first."""
        found: list[Life] = []
        for life in reversed(self._lives.values()):
            if life.version <= version or len(found) == most:
                break
            if life.seen_by(user_id):
                found.append(life)
        return found

    def buckets(self, version: int) -> list[Bucket]:
        """The buckets of the last fifteen minutes that changed after a version."""
        return self._series.since(version, self._clock.now())

    @property
    def completed_in_last_minute(self) -> int:
        """How many jobs completed within the last minute."""
        return self._series.completed_in_last_minute(self._clock.now())

    def committed(self, job: Job) -> None:
        """A job has been stored. A worker may have been quicker than this is told."""
        life = self._lives.get(job.id) or self._begin(Life(job, whole=True))
        life.whole = True
        life.steps.insert(0, Step(Event.COMMITTED, job.created_at))
        self._series.committed(self._clock.now(), self.version)

    def assigned(self, job: Job) -> None:
        """A job has been given to a worker."""
        life = self._touch(job)
        life.worker_key = job.worker_key
        life.add(Step(Event.ASSIGNED, self._clock.now(), job.attempt, job.worker_key))

    def began(self, lease: Lease) -> None:
        """A worker has shown that it is at a job."""
        if (life := self._known(lease)) is not None:
            life.status = JobStatus.RUNNING

    def first_text(self, lease: Lease) -> None:
        """The first text of an attempt has come."""
        if (life := self._known(lease)) is not None:
            now = self._clock.now()
            life.add(Step(Event.FIRST_TEXT, now, lease.attempt, life.worker_key))

    def returned(self, job: Job, reason: str) -> None:
        """An attempt has come to nothing, and its job waits again."""
        life = self._touch(job)
        life.status, life.worker_key = JobStatus.PENDING, None
        now = self._clock.now()
        life.add(Step(Event.RETURNED, now, job.attempt, job.worker_key, reason))

    def ended(self, job: Job) -> None:
        """A job has ended; of a paid one this may be told twice."""
        known = self._lives.get(job.id)
        if known is not None and known.status in ENDED:
            return
        life = self._touch(job)
        if job.status is JobStatus.COMPLETED:
            at = job.completed_at or self._clock.now()
            self.completed += 1
            self._series.completed(
                job.job_type, at - job.created_at, self._clock.now(), self.version
            )
            life.add(Step(Event.COMPLETED, at, job.attempt, job.worker_key))
        else:
            self._count_failed(1)
            now = self._clock.now()
            life.add(Step(Event.FAILED, now, job.attempt, life.worker_key, job.error))

    def attempt_ended(self, job: Job, fault: Fault | None) -> None:
        """What becomes of the job is told apart."""

    def stranded(self, jobs: Mapping[str, Kind], reason: str) -> None:
        """Jobs that waited have failed, as nobody was there to do them."""
        for life in [self._lives[job_id] for job_id in jobs if job_id in self._lives]:
            self._move(life)
            life.status = JobStatus.FAILED
            life.add(Step(Event.FAILED, self._clock.now(), life.attempt, None, reason))
        if jobs:
            self._ring()
            self._count_failed(len(jobs))

    def crowd_changed(self) -> None:
        """A worker has come or gone, or looks different."""
        self._ring()

    def _count_failed(self, jobs: int) -> None:
        self.failed += jobs
        self._series.failed(self._clock.now(), self.version, jobs)

    def _touch(self, job: Job) -> Life:
        """The life of a job as it is now, which may have been forgotten or not seen yet."""
        life = self._lives.get(job.id)
        if life is None:
            return self._begin(Life(job, whole=False))
        self._move(life)
        life.status, life.attempt = job.status, job.attempt
        return life

    def _known(self, lease: Lease) -> Life | None:
        life = self._lives.get(lease.job_id)
        if life is None or life.attempt != lease.attempt:
            return None
        self._move(life)
        return life

    def _begin(self, life: Life) -> Life:
        self._lives[life.id] = life
        if len(self._lives) > _LIVES_MAX:
            self._lives.popitem(last=False)
        self._move(life)
        return life

    def _move(self, life: Life) -> None:
        """The life is the latest that changed."""
        self._ring()
        life.version = self.version
        self._lives.move_to_end(life.id)

    def _ring(self) -> None:
        self.version += 1
        if self._bell is not None:
            self._bell.set()
            self._bell = None
