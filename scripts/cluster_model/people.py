"""What it costs that workers come and go: told by their coordinator, learnt by the others."""

from typing import Any

import asyncpg
from msgspec import Struct

from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.job import JobType
from dispatchd.core.neighbour import Changes, Sitting
from dispatchd.store.sql.store import SqlStore
from scripts.cluster_model.costs import Cost, Grown
from scripts.cluster_model.meter import Meter

_WORKERS = (10, 1000)
_CHANGES = (1, 500)
_COORDINATORS = (1, 100)
_TIMES = 100
_SILENT_SECONDS = 30.0
_PRETEND = """
    INSERT INTO coordinators (coordinator_key, seen_at, url, version)
    SELECT 'pretended ' || number, clock_timestamp() + interval '1 hour', 'http://10.0.0.1:4010', 1
    FROM generate_series(1, $1) AS number
"""
_NO_MORE = "DELETE FROM coordinators WHERE coordinator_key LIKE 'pretended %'"


class People(Struct, frozen=True):
    """The costs; `Costs` says of which rows."""

    announce: Grown
    meet: Grown
    learn: Grown


async def measure_people(
    store: SqlStore, other: SqlStore, raw: "asyncpg.Connection[Any]", meter: Meter
) -> People:
    """What one coordinator does for its own workers, and another for those of all."""
    return People(
        announce=Grown.through(*[await _announced(store, meter, count) for count in _WORKERS]),
        learn=Grown.through(*[await _learnt(store, other, meter, count) for count in _CHANGES]),
        meet=Grown.through(*[await _met(other, raw, meter, count) for count in _COORDINATORS]),
    )


async def _announced(store: SqlStore, meter: Meter, count: int) -> tuple[float, Cost]:
    """One worker of so many has changed."""
    cluster = store.cluster
    assert cluster is not None
    seats = Seats()
    for number in range(count):
        seats.add(Seat(_card(number), 0, {}, local=False))
    told = {each.key: each for each in seats.sittings}
    await cluster.announce("http://10.0.0.1:4010", Changes.between(None, told))
    one = next(iter(seats))

    async def tell() -> None:
        nonlocal told
        one.proving = not one.proving
        sittings = {each.key: each for each in seats.sittings}
        await cluster.announce("http://10.0.0.1:4010", Changes.between(told, sittings))
        told = sittings

    return count, await meter.each(_TIMES, tell)


async def _learnt(store: SqlStore, other: SqlStore, meter: Meter, count: int) -> tuple[float, Cost]:
    """So many workers of another coordinator have changed since the last look."""
    here, there = store.cluster, other.cluster
    assert here is not None
    assert there is not None
    people = [_sitting(number) for number in range(count)]
    url = "http://10.0.0.1:4010"
    await here.announce(url, Changes(whole=True))
    before = {
        each.coordinator_key: each.version for each in await there.neighbours({}, _SILENT_SECONDS)
    }
    await here.announce(url, Changes(tuple(people)))

    async def learn() -> None:
        seats = Seats()
        for neighbour in await there.neighbours(before, _SILENT_SECONDS):
            seats.sit_elsewhere(neighbour.coordinator_key, neighbour.changes, 1)

    return count, await meter.each(_TIMES, learn)


async def _met(
    other: SqlStore, raw: "asyncpg.Connection[Any]", meter: Meter, count: int
) -> tuple[float, Cost]:
    """A look at so many coordinators of which none has news."""
    cluster = other.cluster
    assert cluster is not None
    await raw.execute(_PRETEND, count)
    try:
        known = {
            each.coordinator_key: each.version
            for each in await cluster.neighbours({}, _SILENT_SECONDS)
        }
        return count, await meter.each(_TIMES, lambda: cluster.neighbours(known, _SILENT_SECONDS))
    finally:
        await raw.execute(_NO_MORE)


def _sitting(number: int) -> Sitting:
    return Sitting(_card(number), frozenset(), 0, proven=True, proving=False, suspended=False)


def _card(number: int) -> WorkerCard:
    return WorkerCard(
        provider_pubkey=f"{number:064x}",
        provider_type=ProviderType.DESKTOP,
        slots=(Slots(frozenset({JobType.LLM_INFER}), 4), Slots(frozenset({JobType.TASK}), 16)),
        version="0.1.0",
        models=("demo-chat",),
        device="cpu",
    )
