"""Bells for those who wait for a job's end. They hint; the store knows."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Feed:
    """One bell for each job that somebody waits for."""

    def __init__(self, watchers_max: int) -> None:
        self._watchers_max = watchers_max
        self._watchers = 0
        self._bells: dict[str, list[asyncio.Event]] = {}

    @contextmanager
    def watching(self, job_id: str) -> Iterator[asyncio.Event | None]:
        """A bell that rings when the job has ended; None where too many watch already."""
        if self._watchers >= self._watchers_max:
            yield None
            return
        bell = asyncio.Event()
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

    def ended(self, job_ids: Iterable[str]) -> None:
        """Rings: these jobs have completed or failed."""
        for job_id in job_ids:
            for bell in self._bells.get(job_id, ()):
                bell.set()

    def close(self) -> None:
        """Rings every bell: the node stops, so whoever waits gets what there is."""
        self.ended(list(self._bells))
