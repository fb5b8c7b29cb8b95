"""Measures what a coordinator and its PostgreSQL server do for a job, for a bell and for a worker.

The store's own code is driven in this process against a server on this machine: each verb with one
row a transaction and with many, since writes that meet share one.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

from dispatchd.coordinator.sealing import Sealing
from dispatchd.core.clock import SystemClock
from dispatchd.core.job import (
    Completion,
    Grant,
    Job,
    JobStatus,
    JobType,
    Lane,
    Lease,
    Privacy,
    Tier,
)
from dispatchd.core.keys import KeyPair
from dispatchd.store.postgres.store import open_postgres
from dispatchd.store.sql.store import SqlStore
from scripts.bench import schemas, servers
from scripts.bench.load import Kind, Load, Mode
from scripts.bench.postgres_cpu import postmaster_of
from scripts.cluster_model.costs import Cost, Costs, Grown
from scripts.cluster_model.meter import Meter, Work
from scripts.cluster_model.people import People, measure_people

_KEYS = ("aa" * 32, "bb" * 32)
_SIZES = (1, 32)
_GROUPS = (800, 100)
_READS = 2000
_STATES = (1, 1000)
_LISTENERS = 20
_BELLS = 1000
_FLUSHES = 300
_SEALS = 200
_RING = "SELECT set_config('synchronous_commit', 'off', true), pg_notify('measured', '')"
_LATER = 4_000_000_000_000
_LANE = Lane(JobType.LLM_INFER)
_WORKER = "0d" * 32
_DONE = Completion(
    output='{"text":"Forty-two, as a first approximation.","finish_reason":"stop"}',
    output_hash="00" * 32,
    receipt=f'{{"completed_at_ms":1,"job_id":"%s","provider_pubkey":"{_WORKER}"}}',
    signature="A" * 88,
)


class Whole(Struct, frozen=True):
    """What so many whole nodes were seen to need for a job: seconds of CPU."""

    coordinators: int
    jobs_per_second: float
    cost: Cost


async def measure(database: str, say: Callable[[str], None]) -> Costs:
    """Everything but `serve`, which the whole node tells."""
    async with (
        open_postgres(database, _KEYS[0]) as store,
        open_postgres(database, _KEYS[1]) as other,
    ):
        raw = await asyncpg.connect(database)
        try:
            postmaster = await postmaster_of(raw)
            if postmaster is None:
                raise servers.Failed("the database must be on this machine: its CPU is read here")
            meter = Meter(postmaster)
            say("jobs")
            jobs = await _jobs(store, meter)
            say("seals")
            seal = await _seals(store, meter)
            say("looks")
            states = Grown.through(*[await _states(store, meter, size) for size in _STATES])
            get = await meter.each(_READS, lambda: store.jobs.get(_id(0, _SIZES[0])))
            lanes = await meter.each(_READS, store.jobs.waiting_lanes)
            count = await meter.each(_READS, store.jobs.count_waiting)
            say("workers")
            people: People = await measure_people(store, other, raw, meter)
            say("bells")
            flush_seconds = await _flush_seconds(raw)
            ring, hear = await _bell(raw, database, meter)
        finally:
            await raw.close()
    return Costs(
        commit=jobs["commit"],
        claim=jobs["claim"],
        finish=jobs["finish"],
        renew=jobs["renew"],
        seal=seal,
        get=get,
        lanes=lanes,
        count=count,
        states=states,
        announce=people.announce,
        meet=people.meet,
        learn=people.learn,
        ring=ring,
        hear=hear,
        flush_seconds=flush_seconds,
    )


async def whole(folder: Path, store: str, count: int, seconds: float) -> Whole:
    """The benchmark's closed loop of 32 workers and 32 clients against so many nodes."""
    postmaster = await asyncio.to_thread(schemas.postmaster, store)
    load = Load(
        kind=Kind.LOOP,
        mode=Mode.WAIT,
        workers=32,
        clients=32,
        seconds=seconds,
        warm_seconds=1.0,
    )

    def drive() -> Whole:
        with servers.nodes(folder, count, store) as running:
            found = servers.drive(running, load, postmaster)
        cost = Cost(found.server_cpu_seconds, found.database_cpu_seconds) * (1 / found.jobs)
        return Whole(count, found.jobs / found.seconds, cost)

    return await asyncio.to_thread(drive)


async def _jobs(store: SqlStore, meter: Meter) -> dict[str, Grown]:
    """The life of jobs that are committed as assigned, and the claim of such as wait."""
    found: dict[str, list[tuple[float, Cost]]] = {}
    for size, groups in zip(_SIZES, _GROUPS, strict=True):
        jobs = [_job(number, size) for number in range(size * groups)]
        lives: dict[str, list[Work]] = {
            "commit": [_commit(store, job) for job in jobs],
            "renew": [_renew(store, jobs[at : at + size]) for at in range(0, len(jobs), size)],
            "finish": [_finish(store, job) for job in jobs],
        }
        for verb, work in lives.items():
            at_once = size if verb != "renew" else 1
            found.setdefault(verb, []).append((size, await meter.together(at_once, work)))
        waiting = [_job(len(jobs) + number, size) for number in range(size * groups)]
        await asyncio.gather(*(store.jobs.add(job) for job in waiting))
        claims: list[Work] = [_claim(store, size) for _ in range(groups)]
        found.setdefault("claim", []).append((size, await meter.together(1, claims)))
    return {verb: Grown.through(*points) for verb, points in found.items()}


def _commit(store: SqlStore, job: Job) -> Work:
    return lambda: store.jobs.add(job, grant=Grant(job, _WORKER, _LATER, _LATER))


def _finish(store: SqlStore, job: Job) -> Work:
    done = replace(_DONE, receipt=_DONE.receipt % job.id)
    held = replace(job, status=JobStatus.ASSIGNED, attempt=1, worker_key=_WORKER)
    return lambda: store.jobs.finish(held, done, 1)


def _renew(store: SqlStore, jobs: list[Job]) -> Work:
    return lambda: store.jobs.renew({Lease(job.id, 1): _LATER for job in jobs})


def _claim(store: SqlStore, size: int) -> Work:
    async def claim() -> None:
        jobs = await store.jobs.waiting({_LANE: size})
        assert len(jobs) == size
        await store.jobs.assign([Grant(job, _WORKER, _LATER, _LATER) for job in jobs])

    return claim


async def _seals(store: SqlStore, meter: Meter) -> Grown:
    """What is signed of the chain: of all jobs of before at once, then of one more."""
    seals = store.seals
    assert seals is not None
    sealing = Sealing(seals, KeyPair.generate(), SystemClock())
    entries = (await store.chain.root()).size
    many = (float(entries), await meter.of(sealing.catch_up()))
    alone = Cost(0, 0)
    for number in range(_SEALS):
        job = _job(number, _SIZES[1] + 1)
        await _commit(store, job)()
        await _finish(store, job)()
        alone += await meter.of(sealing.catch_up())
    return Grown.through((1.0, alone * (1 / _SEALS)), many)


async def _states(store: SqlStore, meter: Meter, size: int) -> tuple[float, Cost]:
    cluster = store.cluster
    assert cluster is not None
    ids = [_id(number, _SIZES[1]) for number in range(size)]
    return size, await meter.each(max(20, _READS // size), lambda: cluster.states(ids))


async def _flush_seconds(raw: "asyncpg.Connection[Any]") -> float:
    """How much longer a small transaction takes where it waits for the disk."""
    await raw.execute("CREATE TABLE flushed (n int)")
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


async def _bell(raw: "asyncpg.Connection[Any]", database: str, meter: Meter) -> tuple[Cost, Cost]:
    """What it costs to ring, and what at each who listens, there and here."""
    missing = _BELLS * _LISTENERS
    all_heard = asyncio.Event()

    def hears(*_: object) -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            all_heard.set()

    async def ring() -> None:
        for _ in range(_BELLS):
            await raw.execute(_RING)

    async def ring_and_hear() -> None:
        await ring()
        await all_heard.wait()

    listeners = [await asyncpg.connect(database) for _ in range(_LISTENERS)]
    try:
        silent = await meter.of(ring())
        for listener in listeners:
            await listener.add_listener("measured", hears)
        loud = await meter.of(ring_and_hear())
    finally:
        for listener in listeners:
            await listener.close()
    heard = Cost(
        max(0.0, loud.coordinator - silent.coordinator),
        max(0.0, loud.database - silent.database),
    )
    return silent * (1 / _BELLS), heard * (1 / (_BELLS * _LISTENERS))


def _id(number: int, size: int) -> str:
    return f"{size:08x}-0000-4000-8000-{number:012x}"


def _job(number: int, size: int) -> Job:
    return Job(
        id=_id(number, size),
        job_type=JobType.LLM_INFER,
        tier=Tier.FAST,
        privacy=Privacy.PUBLIC,
        user_id="measured",
        payload='{"job_type":"LLM_INFER","prompt":"What is a blockchain?","max_tokens":64}',
        created_at=number,
        rank=number,
    )
