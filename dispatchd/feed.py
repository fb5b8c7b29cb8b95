"""Live news of jobs for those who watch. They hint; the store knows.

Nothing is queued for a watcher: it keeps its own place in the text, and what it has not read yet
comes in one piece. So a fast model cannot flood a slow reader, and every watcher reads the same.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from dispatchd.core.errors import TooMany
from dispatchd.core.job import Fault, Job, JobStatus, Kind, Lease

_RETRY_SECONDS = 5


class Journal(Protocol):
    """Who is told of everything that happens to jobs, watched or not."""

    def committed(self, job: Job) -> None:
        """A job has been stored."""
        ...

    def assigned(self, job: Job) -> None:
        """A job has been given to a worker."""
        ...

    def began(self, lease: Lease) -> None:
        """A worker has shown that it is at a job."""
        ...

    def first_text(self, lease: Lease) -> None:
        """The first text of an attempt has come."""
        ...

    def returned(self, job: Job, reason: str) -> None:
        """An attempt has come to nothing, and its job waits again."""
        ...

    def attempt_ended(self, job: Job, fault: Fault | None) -> None:
        """An attempt has done its job, or failed at it; what becomes of the job is told apart."""
        ...

    def ended(self, job: Job) -> None:
        """A job has ended; of a paid one this may be told twice."""
        ...

    def stranded(self, jobs: Mapping[str, Kind], reason: str) -> None:
        """Jobs that waited have failed."""
        ...

    def crowd_changed(self) -> None:
        """A worker has come or gone, or is ready for more."""
        ...


class Journals:
    """Several journals, told one after the other."""

    def __init__(self, journals: Sequence[Journal]) -> None:
        self._journals = tuple(journals)

    def committed(self, job: Job) -> None:
        """A job has been stored."""
        for each in self._journals:
            each.committed(job)

    def assigned(self, job: Job) -> None:
        """A job has been given to a worker."""
        for each in self._journals:
            each.assigned(job)

    def began(self, lease: Lease) -> None:
        """A worker has shown that it is at a job."""
        for each in self._journals:
            each.began(lease)

    def first_text(self, lease: Lease) -> None:
        """The first text of an attempt has come."""
        for each in self._journals:
            each.first_text(lease)

    def returned(self, job: Job, reason: str) -> None:
        """An attempt has come to nothing, and its job waits again."""
        for each in self._journals:
            each.returned(job, reason)

    def attempt_ended(self, job: Job, fault: Fault | None) -> None:
        """An attempt has done its job, or failed at it."""
        for each in self._journals:
            each.attempt_ended(job, fault)

    def ended(self, job: Job) -> None:
        """A job has ended."""
        for each in self._journals:
            each.ended(job)

    def stranded(self, jobs: Mapping[str, Kind], reason: str) -> None:
        """Jobs that waited have failed."""
        for each in self._journals:
            each.stranded(jobs, reason)

    def crowd_changed(self) -> None:
        """A worker has come or gone, or is ready for more."""
        for each in self._journals:
            each.crowd_changed()


class Live:
    """What is known of a job under way: its attempt, its state, and its text so far."""

    def __init__(self) -> None:
        self.attempt = 0
        self.status: JobStatus | None = None
        self.ended: Job | None = None
        self._pieces: list[str] = []
        self.rings: set[asyncio.Event] = set()

    @property
    def text(self) -> str:
        """All text of the present attempt."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def silent(self) -> bool:
        """Whether the present attempt has no text yet."""
        return not self._pieces

    def begin(self, attempt: int, status: JobStatus) -> None:
        """The job is in another state; another attempt starts its text anew."""
        if attempt != self.attempt or status is JobStatus.PENDING:
            self._pieces.clear()
        self.attempt = attempt
        self.status = status
        self.ring()

    def add(self, text: str) -> None:
        """The present attempt has come further."""
        self._pieces.append(text)
        self.ring()

    def ring(self) -> None:
        """Wakes whoever watches."""
        for ring in self.rings:
            ring.set()


class Feed:
    """The jobs that have live text or are watched; what happens goes into the journal as well."""

    def __init__(
        self, watchers_max: int, journal: Journal, stirred: asyncio.Event | None = None
    ) -> None:
        self._stirred = stirred or asyncio.Event()
        self._watchers_max = watchers_max
        self.journal = journal
        self._watchers = 0
        self._live: dict[str, Live] = {}
        self.closed = False

    @contextmanager
    def watcher(self) -> Iterator[None]:
        """Counts somebody who watches for as long as the block runs; raises `TooMany`."""
        if self._watchers >= self._watchers_max:
            raise TooMany("Too many requests wait for news here", _RETRY_SECONDS)
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    @contextmanager
    def watching(self, job_id: str) -> Iterator[tuple[Live, asyncio.Event]]:
        """A job's live news, and an event that is set with each; raises `TooMany`."""
        with self.watcher():
            ring = asyncio.Event()
            live = self._live.setdefault(job_id, Live())
            live.rings.add(ring)
            self._stirred.set()
            try:
                yield live, ring
            finally:
                live.rings.discard(ring)
                self._forget_if_idle(job_id, live)

    def assigned(self, job: Job) -> None:
        """A job has been given to a worker."""
        self.journal.assigned(job)
        self.moved(job.id, job.attempt, JobStatus.ASSIGNED)

    def returned(self, job: Job, reason: str) -> None:
        """A job waits again, for a reason; the text that its attempt had is void."""
        self.journal.returned(job, reason)
        self.moved(job.id, job.attempt, JobStatus.PENDING)

    def moved(self, job_id: str, attempt: int, status: JobStatus) -> None:
        """A job is in another state, as whoever watches is told; the journal is not."""
        if (live := self._live.get(job_id)) is not None:
            live.begin(attempt, status)
            self._forget_if_idle(job_id, live)

    def progress(self, lease: Lease, text: str) -> None:
        """A worker has generated text."""
        live = self._live.setdefault(lease.job_id, Live())
        if (live.attempt, live.status) != (lease.attempt, JobStatus.RUNNING):
            live.begin(lease.attempt, JobStatus.RUNNING)
            self.journal.began(lease)
        if text and live.silent:
            self.journal.first_text(lease)
        live.add(text)

    def ended(self, job: Job) -> None:
        """A job has completed or failed, and is stored as it is here."""
        self.journal.ended(job)
        self.ended_elsewhere(job)

    def ended_elsewhere(self, job: Job) -> None:
        """The same for a job that another coordinator has ended, in whose journal it is."""
        if (live := self._live.pop(job.id, None)) is not None:
            live.ended = job
            live.ring()

    @property
    def watched_jobs(self) -> list[str]:
        """The jobs that somebody watches."""
        return [job_id for job_id, live in self._live.items() if live.rings]

    def characters(self, lease: Lease) -> int:
        """How much text of an attempt is here."""
        live = self._live.get(lease.job_id)
        return len(live.text) if live is not None and live.attempt == lease.attempt else 0

    def watched(self, job_ids: Iterable[str]) -> list[str]:
        """Those of these jobs that somebody watches."""
        return [job_id for job_id in job_ids if job_id in self._live]

    def close(self) -> None:
        """The node stops, so whoever waits gets what there is."""
        self.closed = True
        self.journal.crowd_changed()
        for live in self._live.values():
            live.ring()

    def _forget_if_idle(self, job_id: str, live: Live) -> None:
        """Text is kept while it may be asked for: while its attempt runs."""
        idle = not live.rings and live.status is not JobStatus.RUNNING
        if idle and self._live.get(job_id) is live:
            del self._live[job_id]
