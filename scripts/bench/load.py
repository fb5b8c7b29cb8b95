"""What the load process is asked for, and what it measured: the words between the processes."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from msgspec import Struct

TASK = "TASK"
LLM_INFER = "LLM_INFER"


class Mode(StrEnum):
    """How a client learns that its job has ended."""

    POLL = "poll"
    WAIT = "wait"


class Kind(StrEnum):
    """What the clients do."""

    LOOP = "loop"
    BURST = "burst"
    LATENCY = "latency"


class Load(Struct, frozen=True, kw_only=True):
    """One run of the load process against a server that listens.

    `places` is what each worker says it does at once. `reads_per_job`: each job is read so often
    at the least, on average, so that two servers get the same number of requests. `postmaster` is
    the first process of the database server, where that is one on this machine.
    """

    kind: Kind
    mode: Mode
    workers: int
    clients: int
    places: int = 1
    idle_workers: int = 0
    idle_capability: str = LLM_INFER
    burst: int = 0
    seconds: float
    warm_seconds: float
    reads_per_job: float = 0
    ports: tuple[int, ...] = ()
    server_pids: tuple[int, ...] = ()
    postmaster: int | None = None


class Percentiles(Struct, frozen=True):
    """Of many durations, in milliseconds."""

    p50: float = 0
    p95: float = 0
    p99: float = 0

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """The percentiles by nearest rank."""
        if not seconds:
            return cls()
        ordered = sorted(seconds)
        last = len(ordered) - 1
        return cls(*(ordered[round(last * share)] * 1000 for share in (0.50, 0.95, 0.99)))


class Measured(Struct, frozen=True, kw_only=True):
    """One run. `reads` are the requests for a job's state; each job has one commit beside them.

    `committed`: from sending the commit to its 201. `assigned`: from that 201 to `job_assign` at
    the worker, 0 where that came first; only where the kind is latency. `ended`: from the 201
    until the client sees the job completed; `completed`: the same from sending the commit.
    `server_loop_seconds` is the main thread's part of the server's CPU; `other_share` the part of
    the machine's cores that neither server, database nor load had, but others did.
    """

    jobs: int
    reads: int
    seconds: float
    server_cpu_seconds: float
    server_loop_seconds: float
    database_cpu_seconds: float
    load_cpu_seconds: float
    other_share: float
    committed: Percentiles
    assigned: Percentiles
    ended: Percentiles
    completed: Percentiles
