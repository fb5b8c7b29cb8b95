"""Live news of jobs for those who watch. They hint; the store knows.

Nothing is queued for a watcher: it keeps its own place in the text, and what it has not read yet
comes in one piece. So a fast model cannot flood a slow reader, and every watcher reads the same.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from dispatchd.core.errors import TooMany
from dispatchd.core.job import Job, JobStatus, Lease

_RETRY_SECONDS = 5


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
    """The jobs that have live text or are watched."""

    def __init__(self, watchers_max: int, stirred: asyncio.Event | None = None) -> None:
        self._stirred = stirred or asyncio.Event()
        self._watchers_max = watchers_max
        self._watchers = 0
        self._live: dict[str, Live] = {}
        self.closed = False

    @contextmanager
    def watching(self, job_id: str) -> Iterator[tuple[Live, asyncio.Event]]:
        """A job's live news, and an event that is set with each; raises `TooMany`."""
        if self._watchers >= self._watchers_max:
            raise TooMany("Too many requests wait for jobs here", _RETRY_SECONDS)
        ring = asyncio.Event()
        live = self._live.setdefault(job_id, Live())
        live.rings.add(ring)
        self._watchers += 1
        self._stirred.set()
        try:
            yield live, ring
        finally:
            self._watchers -= 1
            live.rings.discard(ring)
            self._forget_if_idle(job_id, live)

    def status(self, job_id: str, attempt: int, status: JobStatus) -> None:
        """A job has come into another state; text that an earlier attempt had is void."""
        if (live := self._live.get(job_id)) is not None:
            live.begin(attempt, status)
            self._forget_if_idle(job_id, live)

    def progress(self, lease: Lease, text: str) -> None:
        """A worker has generated text."""
        live = self._live.setdefault(lease.job_id, Live())
        if (live.attempt, live.status) != (lease.attempt, JobStatus.RUNNING):
            live.begin(lease.attempt, JobStatus.RUNNING)
        live.add(text)

    def ended(self, job: Job) -> None:
        """A job has completed or failed, and is stored as it is here."""
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
        for live in self._live.values():
            live.ring()

    def _forget_if_idle(self, job_id: str, live: Live) -> None:
        """Text is kept while it may be asked for: while its attempt runs."""
        idle = not live.rings and live.status is not JobStatus.RUNNING
        if idle and self._live.get(job_id) is live:
            del self._live[job_id]
