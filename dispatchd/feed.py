"""Live news of jobs for those who watch. They hint; the store knows.

Nothing is queued for a watcher: it keeps its own place in the text, and what it has not read yet
comes in one piece. So a fast model cannot flood a slow reader, and every watcher reads the same.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from dispatchd.core.errors import TooMany
from dispatchd.core.job import Job, JobStatus, Lease

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

    def ended(self, job: Job) -> None:
        """A job has ended."""
        ...

    def stranded(self, job_ids: Iterable[str], reason: str) -> None:
        """Jobs that waited have failed."""
        ...

    def crowd_changed(self) -> None:
        """A worker has come or gone, or is ready for more."""
        ...


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

    def __init__(self, watchers_max: int, journal: Journal) -> None:
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
            try:
                yield live, ring
            finally:
                live.rings.discard(ring)
                self._forget_if_idle(job_id, live)

    def assigned(self, job: Job) -> None:
        """A job has been given to a worker."""
        self.journal.assigned(job)
        self._status(job, JobStatus.ASSIGNED)

    def returned(self, job: Job, reason: str) -> None:
        """A job waits again, for a reason; the text that its attempt had is void."""
        self.journal.returned(job, reason)
        self._status(job, JobStatus.PENDING)

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
        if (live := self._live.pop(job.id, None)) is not None:
            live.ended = job
            live.ring()

    def watched(self, job_ids: Iterable[str]) -> list[str]:
        """Those of these jobs that somebody watches."""
        return [job_id for job_id in job_ids if job_id in self._live]

    def close(self) -> None:
        """The node stops, so whoever waits gets what there is."""
        self.closed = True
        self.journal.crowd_changed()
        for live in self._live.values():
            live.ring()

    def _status(self, job: Job, status: JobStatus) -> None:
        if (live := self._live.get(job.id)) is not None:
            live.begin(job.attempt, status)
            self._forget_if_idle(job.id, live)

    def _forget_if_idle(self, job_id: str, live: Live) -> None:
        """Text is kept while it may be asked for: while its attempt runs."""
        idle = not live.rings and live.status is not JobStatus.RUNNING
        if idle and self._live.get(job_id) is live:
            del self._live[job_id]
