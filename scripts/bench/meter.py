"""Counts what the clients did between two moments, and what that cost the processes."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import astuple

from scripts.bench.load import Measured, Percentiles
from scripts.bench.postgres_cpu import server_cpu

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class _Cpu(Struct, frozen=True):
    """CPU time used until a moment, in seconds."""

    server: float
    server_loop: float
    database: float
    load: float
    machine: float

    def since(self, before: "_Cpu") -> "_Cpu":
        """What was used between two moments."""
        pairs = zip(astuple(self), astuple(before), strict=True)
        return _Cpu(*(now - then for now, then in pairs))


def _cpu(server_pids: Sequence[int], postmaster: int | None) -> _Cpu:
    return _Cpu(
        server=sum(_of_stat(f"/proc/{pid}/stat") for pid in server_pids),
        server_loop=sum(_of_stat(f"/proc/{pid}/task/{pid}/stat") for pid in server_pids),
        database=0.0 if postmaster is None else server_cpu(postmaster),
        load=time.process_time(),
        machine=_of_machine(),
    )


def _of_stat(path: str) -> float:
    """User and system time of a process, all its threads together, or of one thread."""
    fields = Path(path).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def _of_machine() -> float:
    """What all cores did, and what they were kept from by other guests of the same machine."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().split(maxsplit=11)[1:11]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_SECOND


class Meter:
    """The tally of one run; what happens before `start` is forgotten."""

    def __init__(self, server_pids: Sequence[int], postmaster: int | None = None) -> None:
        self._server_pids = server_pids
        self._postmaster = postmaster
        self.arrivals: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """The measured part begins."""
        self.jobs = 0
        self.reads = 0
        self._committed: list[float] = []
        self._assigned: list[float] = []
        self._ended: list[float] = []
        self._completed: list[float] = []
        self._cpu = _cpu(self._server_pids, self._postmaster)
        self._started = time.perf_counter()

    def add(self, job_id: str, sent: float, accepted: float, ended: float) -> None:
        """A job has completed."""
        self.jobs += 1
        self._committed.append(accepted - sent)
        self._ended.append(ended - accepted)
        self._completed.append(ended - sent)
        if (arrival := self.arrivals.pop(job_id, None)) is not None:
            self._assigned.append(max(0.0, arrival - accepted))

    def stop(self) -> Measured:
        """The measured part ends."""
        seconds = time.perf_counter() - self._started
        used = _cpu(self._server_pids, self._postmaster).since(self._cpu)
        others = used.machine - used.server - used.database - used.load
        return Measured(
            jobs=self.jobs,
            reads=self.reads,
            seconds=seconds,
            server_cpu_seconds=used.server,
            server_loop_seconds=used.server_loop,
            database_cpu_seconds=used.database,
            load_cpu_seconds=used.load,
            other_share=max(0.0, others) / (seconds * (os.cpu_count() or 1)),
            committed=Percentiles.of(self._committed),
            assigned=Percentiles.of(self._assigned),
            ended=Percentiles.of(self._ended),
            completed=Percentiles.of(self._completed),
        )
