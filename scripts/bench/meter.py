"""Counts what the clients did between two moments, and what that cost the processes."""

import os
import time
from pathlib import Path

from scripts.bench.load import Measured, Percentiles

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


class Meter:
    """The tally of one run; what happens before `start` is forgotten."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self.arrivals: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """The measured part begins."""
        self.jobs = 0
        self.reads = 0
        self._committed: list[float] = []
        self._assigned: list[float] = []
        self._completed: list[float] = []
        self._server_cpu = cpu_seconds(self._server_pid)
        self._load_cpu = time.process_time()
        self._started = time.perf_counter()

    def add(self, job_id: str, sent: float, accepted: float, ended: float) -> None:
        """A job has completed."""
        self.jobs += 1
        self._committed.append(accepted - sent)
        self._completed.append(ended - sent)
        if (arrival := self.arrivals.pop(job_id, None)) is not None:
            self._assigned.append(max(0.0, arrival - accepted))

    def stop(self) -> Measured:
        """The measured part ends."""
        return Measured(
            jobs=self.jobs,
            reads=self.reads,
            seconds=time.perf_counter() - self._started,
            server_cpu_seconds=cpu_seconds(self._server_pid) - self._server_cpu,
            load_cpu_seconds=time.process_time() - self._load_cpu,
            committed=Percentiles.of(self._committed),
            assigned=Percentiles.of(self._assigned),
            completed=Percentiles.of(self._completed),
        )
