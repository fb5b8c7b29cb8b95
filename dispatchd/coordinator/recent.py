"""What has happened lately, in memory: the lives of the latest jobs, and the last minutes' numbers.

What is told here costs the same however many watch. Each change has a version, so that a watcher
asks for what is newer than what it has seen, and nothing is kept for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

from dispatchd.coordinator.life import Event, Life, Step, stored_steps
from dispatchd.coordinator.series import Series
from dispatchd.core.clock import Clock
from dispatchd.core.job import ENDED, Fault, Job, JobStatus, Kind, Lease

_LIVES_MAX = 256


class Recent:
    """The journal of a feed: everything that happens to jobs passes here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.series = Series()
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

    @property
    def open(self) -> list[str]:
        """The jobs among the latest that have not ended, as far as is known here."""
        return [life.id for life in self._lives.values() if life.status not in ENDED]

    def committed(self, job: Job) -> None:
        """A job has been stored. A worker, or who reads the store, may have been quicker."""
        life = self._touch(job)
        life.steps.insert(0, Step(Event.COMMITTED, job.created_at))
        self.series.committed(self._clock.now(), self.version)

    def assigned(self, job: Job) -> None:
        """A job has been given to a worker."""
        life = self._touch(job)
        life.advance(job.status, job.attempt, job.worker_key)
        life.add(Step(Event.ASSIGNED, self._clock.now(), job.attempt, job.worker_key))

    def began(self, lease: Lease) -> None:
        """A worker has shown that it is at a job."""
        if (life := self._known(lease)) is not None:
            life.advance(JobStatus.RUNNING, lease.attempt, life.worker_key)

    def first_text(self, lease: Lease) -> None:
        """The first text of an attempt has come."""
        if (life := self._known(lease)) is not None:
            now = self._clock.now()
            life.add(Step(Event.FIRST_TEXT, now, lease.attempt, life.worker_key))

    def returned(self, job: Job, reason: str) -> None:
        """An attempt has come to nothing, and its job waits again."""
        life = self._touch(job)
        life.advance(JobStatus.PENDING, job.attempt, None)
        now = self._clock.now()
        life.add(Step(Event.RETURNED, now, job.attempt, job.worker_key, reason))

    def ended(self, job: Job) -> None:
        """A job has ended; of a paid one this may be told twice."""
        known = self._lives.get(job.id)
        if known is not None and known.counted:
            return
        life = self._touch(job)
        life.counted = True
        life.advance(job.status, job.attempt, life.worker_key or job.worker_key)
        if job.status is JobStatus.COMPLETED:
            at = job.completed_at or self._clock.now()
            self.completed += 1
            self.series.completed(
                job.job_type, at - job.created_at, self._clock.now(), self.version
            )
            life.add(Step(Event.COMPLETED, at, job.attempt, job.worker_key))
        else:
            self._count_failed(1)
            now = self._clock.now()
            life.add(Step(Event.FAILED, now, job.attempt, life.worker_key, job.error))

    def found(self, job: Job) -> None:
        """How the store has a job, of which other coordinators may have seen more.

        Whoever has done what became of it counts it, so it is not counted here.
        """
        life = self._lives.get(job.id)
        if life is None:
            life = self._begin(job)
        elif life.advance(job.status, job.attempt, job.worker_key):
            self._move(life)
        else:
            return
        life.stored = stored_steps(job)

    def attempt_ended(self, job: Job, fault: Fault | None) -> None:
        """What becomes of the job is told apart."""

    def stranded(self, jobs: Mapping[str, Kind], reason: str) -> None:
        """Jobs that waited have failed, as nobody was there to do them."""
        for life in [self._lives[job_id] for job_id in jobs if job_id in self._lives]:
            self._move(life)
            life.counted = True
            life.advance(JobStatus.FAILED, life.attempt, None)
            life.add(Step(Event.FAILED, self._clock.now(), life.attempt, None, reason))
        if jobs:
            self._ring()
            self._count_failed(len(jobs))

    def crowd_changed(self) -> None:
        """A worker has come or gone, or looks different; or the numbers do."""
        self._ring()

    def _count_failed(self, jobs: int) -> None:
        self.failed += jobs
        self.series.failed(self._clock.now(), self.version, jobs)

    def _touch(self, job: Job) -> Life:
        """The life of a job, which may have been forgotten or not seen yet, as the latest."""
        life = self._lives.get(job.id)
        if life is None:
            return self._begin(job)
        self._move(life)
        return life

    def _known(self, lease: Lease) -> Life | None:
        life = self._lives.get(lease.job_id)
        if life is None or life.attempt != lease.attempt:
            return None
        self._move(life)
        return life

    def _begin(self, job: Job) -> Life:
        life = self._lives[job.id] = Life(job)
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
