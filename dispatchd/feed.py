"""Bells for those who wait for a job's end. They hint; the store knows."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from dispatchd.core.job import Job


class Bell(asyncio.Event):
    """Rings when a job has ended; `job` is the job as stored, where whoever rang had it at hand."""

    job: Job | None = None


class Feed:
    """The bells of those who wait, by job."""

    def __init__(self, watchers_max: int) -> None:
        self._watchers_max = watchers_max
        self._watchers = 0
        self._bells: dict[str, list[Bell]] = {}

    @contextmanager
    def watching(self, job_id: str) -> Iterator[Bell | None]:
        """A bell that rings when the job has ended; None where too many watch already."""
        if self._watchers >= self._watchers_max:
            yield None
            return
        bell = Bell()
        self._watchers += 1
        self._bells.setdefault(job_id, []).append(bell)
        try:
            yield bell
        finally:
            self._watchers -= 1
            bells = self._bells[job_id]
            bells.remove(bell)
            if not bells:
                del self._bells[job_id]

    def ended(self, job: Job) -> None:
        """Rings: this job has completed or failed, and is stored as it is here."""
        for bell in self._bells.get(job.id, ()):
            bell.job = job
            bell.set()

    def ring(self, job_ids: Iterable[str]) -> None:
        """Rings: these jobs have ended."""
        for job_id in job_ids:
            for bell in self._bells.get(job_id, ()):
                bell.set()

    def close(self) -> None:
        """Rings every bell: the node stops, so whoever waits gets what there is."""
        self.ring(list(self._bells))
