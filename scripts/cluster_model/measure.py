"""Measures what a coordinator and its PostgreSQL server do for a job, for a bell and for a worker.

The store's own code is driven in this process against a server on this machine: each verb with one
row a transaction and with many, since writes that meet share one.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.clock import SystemClock
from dispatchd.core.job import Completion, Grant, Job, JobType, Lease, Privacy, Tier
from dispatchd.core.neighbour import Sitting
from dispatchd.coordinator.seats import Seats
from dispatchd.store.postgres.store import open_postgres
from dispatchd.store.sql.store import SqlStore
from scripts.bench import servers
from scripts.bench.load import Kind, Load, Mode
from scripts.cluster_model.costs import Cost, Costs, Grown
from scripts.cluster_model.server_cpu import parent_of, server_cpu

_KEYS = ("aa" * 32, "bb" * 32)
_MANY = 32
_JOBS = 3200
_READS = 2000
_LISTENERS = 20
_BELLS = 1000
_SITTINGS_FEW, _SITTINGS_MANY = 10, 1000
_FLUSHES = 300
_FAR_FUTURE = 4_000_000_000_000
_TOGETHER = 32
_BENCH_SECONDS = 6.0
_OUTPUT = '{"text":"Forty-two, as a first approximation.","finish_reason":"stop"}'
_RECEIPT = '{"completed_at_ms":1,"job_id":"%s","output_hash":"%s","provider_pubkey":"%s"}'


class Meter(Struct, frozen=True):
    """Tells what was used by this process and by the server."""

    postmaster: int

    async def of(self, work: Awaitable[object]) -> Cost:
        """Awaits something, and says what that took of both."""
        own, server = time.process_time(), server_cpu(self.postmaster)
        await work
        return Cost(time.process_time() - own, server_cpu(self.postmaster) - server)


class Whole(Struct, frozen=True):
    """What the whole node was seen to need for a job over this database, to check the sum by."""

    jobs_per_second: float
    coordinator: float
    database: float


async def measure(database: str, heard: Callable[[str], None]) -> Costs:
    """Everything but `serve`, which the whole node tells; `heard` is told what is being done."""
    async with (
        open_postgres(database, _KEYS[0]) as store,
        open_postgres(database, _KEYS[1]) as other,
    ):
        raw = await asyncpg.connect(database)
        try:
            meter = Meter(await postmaster_of(raw))
            heard("commits and results")
            commit, finish, get, states = await _jobs(store, meter)
            heard("looks at the queue")
            lanes = await _each(meter, _READS, store.jobs.waiting_lanes)
            count = await _each(meter, _READS, store.jobs.count_waiting)
            heard("lists of workers")
            announce, neighbours = await _people(store, other, meter)
            heard("bells")
            flush_seconds = await _flush_seconds(raw)
            bell = await _bell(raw, database, meter)
        finally:
            await raw.close()
    return Costs(
        serve=0.0,
        commit=commit,
        finish=finish,
        get=get,
        lanes=lanes,
        count=count,
        states=states,
        announce=announce,
        neighbours=neighbours,
        hear=bell,
        flush_seconds=flush_seconds,
    )


async def postmaster_of(raw: "asyncpg.Connection[Any]") -> int:
    """The first process of the server at the other end; fails where that is another machine."""
    backend = await raw.fetchval("SELECT pg_backend_pid()")
    program = Path(f"/proc/{backend}/comm")
    if not program.exists() or not program.read_text().startswith("postgres"):
        raise servers.Failed("the database must be on this machine, since its CPU is read here")
    postmaster = parent_of(backend)
    assert postmaster is not None
    return postmaster


def measure_whole(folder: Path, store: str, postmaster: int, count: int) -> Whole:
    """The closed loop of the benchmark against so many nodes over a database."""
    load = Load(
        kind=Kind.LOOP,
        mode=Mode.WAIT,
        workers=_TOGETHER,
        clients=_TOGETHER,
        seconds=_BENCH_SECONDS,
        warm_seconds=1.0,
    )
    with servers.nodes(folder, count, store) as running:
        before = server_cpu(postmaster)
        found = servers.drive(running, load)
        used = server_cpu(postmaster) - before
    # The server's time holds the warming up as well, in which as many jobs a second are done.
    jobs = found.jobs * (load.seconds + load.warm_seconds) / load.seconds
    return Whole(found.jobs / found.seconds, found.server_cpu_seconds / found.jobs, used / jobs)


async def _jobs(store: SqlStore, meter: Meter) -> tuple[Grown, Grown, Cost, Grown]:
    """Jobs that are committed as assigned, asked for and completed, alone and in company."""
    commits, finishes = [], []
    for together in (1, _MANY):
        count = _JOBS if together > 1 else _JOBS // 4
        jobs = [_leased(f"{together}-{number}") for number in range(count)]
        adding = [store.jobs.add for _ in jobs]
        cost = await meter.of(
            _in_groups(together, [_adding(add, job) for add, job in zip(adding, jobs, strict=True)])
        )
        commits.append((together, cost * (together / count)))
        if together > 1:
            ids = [job.id for job in jobs]
            get = await _each(meter, _READS, lambda: store.jobs.get(ids[0]))
            few, many = 1, 1000
            assert store.cluster is not None
            cluster = store.cluster
            states = Grown.through(
                (few, await _each(meter, _READS // 4, lambda: cluster.states(ids[:few]))),
                (many, await _each(meter, 20, lambda: cluster.states(ids[:many]))),
            )
        cost = await meter.of(_in_groups(together, [_finishing(store, job) for job in jobs]))
        finishes.append((together, cost * (together / count)))
    return Grown.through(*commits), Grown.through(*finishes), get, states


def _adding(add: Callable[..., Awaitable[object]], job: Job) -> Callable[[], Awaitable[object]]:
    return lambda: add(job, None, 0, Grant(job, _KEYS[0], _FAR_FUTURE, _FAR_FUTURE))


def _finishing(store: SqlStore, job: Job) -> Callable[[], Awaitable[object]]:
    receipt = _RECEIPT % (job.id, "00" * 32, _KEYS[0])
    done = Completion(_OUTPUT, "00" * 32, receipt, "A" * 88)
    leased = replace(job, attempt=1)
    return lambda: store.jobs.finish(leased, done, 1)


async def _in_groups(together: int, work: Sequence[Callable[[], Awaitable[object]]]) -> None:
    for first in range(0, len(work), together):
        await asyncio.gather(*(each() for each in work[first : first + together]))


async def _each(meter: Meter, count: int, work: Callable[[], Awaitable[object]]) -> Cost:
    async def often() -> None:
        for _ in range(count):
            await work()

    return await meter.of(often()) * (1 / count)


async def _people(store: SqlStore, other: SqlStore, meter: Meter) -> tuple[Grown, Grown]:
    """A coordinator's list of workers, written by one and taken in by another."""
    here, there = store.cluster, other.cluster
    assert here is not None
    assert there is not None
    seats = Seats()
    writes, reads = [], []

    async def take_in() -> None:
        others = await there.neighbours()
        seats.sit_elsewhere([each for one in others for each in one.sittings], 1)

    for workers in (_SITTINGS_FEW, _SITTINGS_MANY):
        times = 200 if workers == _SITTINGS_FEW else 20
        lists = [_sittings(workers, time) for time in range(times)]
        written, taken = Cost(0, 0), Cost(0, 0)
        for people in lists:
            written += await meter.of(here.announce("http://127.0.0.1:1", people))
            taken += await meter.of(take_in())
        writes.append((float(workers), written * (1 / times)))
        reads.append((float(workers), taken * (1 / times)))
    return Grown.through(*writes), Grown.through(*reads)


def _sittings(count: int, since: int) -> list[Sitting]:
    """Workers of whom the last has come just now."""
    return [
        Sitting(
            card=WorkerCard(
                provider_pubkey=f"{number:064x}",
                provider_type=ProviderType.DESKTOP,
                slots=(
                    Slots(frozenset({JobType.LLM_INFER}), 4),
                    Slots(frozenset({JobType.TASK}), 16),
                ),
                version="0.1.0",
                models=("demo-chat",),
                device="cpu",
            ),
            users=frozenset(),
            since=since if number == count - 1 else 0,
            proven=True,
            proving=False,
            suspended=False,
        )
        for number in range(count)
    ]


async def _flush_seconds(raw: "asyncpg.Connection[Any]") -> float:
    """How long a small transaction takes more where it waits for the disk."""
    await raw.execute("CREATE TEMPORARY TABLE IF NOT EXISTS unlogged_one (n int)")
    await raw.execute("CREATE TABLE IF NOT EXISTS flushed (n int)")
    try:
        took = []
        for wait in ("on", "off"):
            await raw.execute(f"SET synchronous_commit = {wait}")
            start = time.perf_counter()
            for number in range(_FLUSHES):
                await raw.execute(f"INSERT INTO flushed VALUES ({number})")
            took.append((time.perf_counter() - start) / _FLUSHES)
        return max(0.0, took[0] - took[1])
    finally:
        await raw.execute("RESET synchronous_commit; DROP TABLE flushed")


async def _bell(raw: "asyncpg.Connection[Any]", database: str, meter: Meter) -> Cost:
    """What one bell costs at each who listens, there and here."""
    heard = 0
    silent, listening = [], []

    def hears(*_: object) -> None:
        nonlocal heard
        heard += 1

    async def ring() -> None:
        for _ in range(_BELLS):
            await raw.execute("SELECT pg_notify('bench_bell', '')")

    listeners = [await asyncpg.connect(database) for _ in range(_LISTENERS)]
    try:
        silent.append(await meter.of(ring()))
        for listener in listeners:
            await listener.add_listener("bench_bell", hears)

        async def all_heard() -> None:
            await ring()
            while heard < _BELLS * _LISTENERS:
                await asyncio.sleep(0.001)

        listening.append(await meter.of(all_heard()))
    finally:
        for listener in listeners:
            await listener.close()
    one = 1 / (_BELLS * _LISTENERS)
    return Cost(
        max(0.0, listening[0].coordinator - silent[0].coordinator) * one,
        max(0.0, listening[0].database - silent[0].database) * one,
    )


def _leased(name: str) -> Job:
    return Job(
        id=f"{os.urandom(8).hex()}-{name}",
        job_type=JobType.LLM_INFER,
        tier=Tier.FAST,
        privacy=Privacy.PUBLIC,
        user_id="model",
        payload='{"job_type":"LLM_INFER","prompt":"What is a blockchain?","max_tokens":64}',
        created_at=1,
        rank=1,
    )
