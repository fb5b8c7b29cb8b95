"""What coordinators believe of one another after the shared database was away."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from dispatchd.core.limits import Limits
from dispatchd.core.neighbour import Bell, Neighbour
from tests.support.alive import beat
from tests.support.clock import FakeClock
from tests.support.cluster import PATIENCE_SECONDS, Member, member
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.keyholders import OURS
from tests.support.postgres import Server

LIMITS = Limits(task_run_seconds=600)
Pair = tuple[Member, Member]
Outage = tuple[Member, FakeClock, str]


@pytest.fixture
def store(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
async def both(tmp_path: Path, store: str, clock: FakeClock) -> AsyncIterator[Pair]:
    """Two coordinators that have been there for a while."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(member(folder, store, LIMITS, clock))
            for folder in folders
        ]
        await sweep(clock, 40, first, second)
        yield first, second


async def sweep(clock: FakeClock, seconds: int, *members: Member) -> None:
    """Time passes, and these coordinators reach the database meanwhile."""
    for _ in range(seconds):
        clock.advance(1)
        for each in members:
            await each.parts.sweep.once()


async def executed(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def is_seen(url: str) -> bool:
    """Whether some coordinator has lately said that it lives."""
    connection = await asyncpg.connect(url)
    try:
        sql = "SELECT max(seen_at) > clock_timestamp() - interval '30 seconds' FROM coordinators"
        return bool(await connection.fetchval(sql))
    finally:
        await connection.close()


async def leased(asked: Member, worker: ForeignWorker) -> str:
    """A job that a worker has, which has proven its key."""
    await worker.prove(await worker.register("TASK", **OURS))
    await beat(worker)
    job_id = await asked.commit()
    await worker.expect("job_assign")
    return job_id


async def test_after_an_outage_the_first_that_is_back_leaves_the_others_leases_alone(
    both: Pair, clock: FakeClock
) -> None:
    first, second = both
    async with foreign_worker(second.http, second.url) as worker:
        job_id = await leased(second, worker)
        clock.advance(60)  # neither reaches the database; the worker is heard all the same
        await beat(worker)
        await sweep(clock, 5, first)
        await sweep(clock, 1, second, first)
        await beat(worker)
        await sweep(clock, 29, second, first)
        await worker.complete(job_id)
        assert (await second.ended(job_id))["status"] == "completed"
        job = await second.parts.coordinator.get(job_id)
        assert (job.attempt, job.faults) == (1, 0)


async def test_what_nobody_renews_after_an_outage_is_tried_again(
    both: Pair, clock: FakeClock
) -> None:
    first, second = both
    async with foreign_worker(second.http, second.url) as worker:
        job_id = await leased(second, worker)
        clock.advance(60)
        await sweep(clock, 30, first)
        assert (await first.parts.coordinator.get(job_id)).faults == 0
        await sweep(clock, 1, first)
        assert (await first.parts.coordinator.get(job_id)).faults == 1


@pytest.fixture
async def away_for_a_minute(tmp_path: Path, store: str) -> AsyncIterator[Outage]:
    """A coordinator after an outage, its clock, and who sits at another.

    The other's clock stands still, so that it has said nothing since.
    """
    folders, clocks = [tmp_path / name for name in "ab"], (FakeClock(), FakeClock())
    for folder in folders:
        folder.mkdir()
    async with (
        member(folders[0], store, LIMITS, clocks[0]) as first,
        member(folders[1], store, LIMITS, clocks[1]) as second,
        foreign_worker(second.http, second.url) as worker,
    ):
        await worker.register("TASK")
        here = first.parts.neighbours
        assert here is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not first.parts.seats.elsewhere:
                clocks[1].advance(0.1)  # it announces the worker now
                await here.prepare()
        await executed(store, "UPDATE coordinators SET seen_at = seen_at - interval '60 seconds'")
        clocks[0].advance(60)
        yield first, clocks[0], worker.pubkey


async def test_after_an_outage_the_others_are_not_gone_until_they_had_time_to_say_so(
    away_for_a_minute: Outage,
) -> None:
    first, clock, worker = away_for_a_minute
    here = first.parts.neighbours
    assert here is not None
    for _ in range(6):
        await here.prepare()
        assert [each.key for each in first.parts.seats.elsewhere] == [worker]
        clock.advance(5)
    await here.prepare()
    assert not list(first.parts.seats.elsewhere)


async def test_whoever_else_reached_the_database_first_takes_nobody_for_gone(
    away_for_a_minute: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep gets an answer while it is asked who lives."""
    first, _, worker = away_for_a_minute
    here = first.parts.neighbours
    assert here is not None
    ask = here.cluster.neighbours

    async def asked(known: Mapping[str, int], silent_seconds: float) -> list[Neighbour]:
        found = await ask(known, silent_seconds)
        await first.parts.sweep.once()
        return found

    monkeypatch.setattr(here.cluster, "neighbours", asked)
    await here.prepare()
    assert [each.key for each in first.parts.seats.elsewhere] == [worker]


async def test_a_bell_counts_also_when_it_is_time_to_look_anyway(
    both: Pair, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = both
    here, users = first.parts.neighbours, first.parts.coordinator.users
    assert here is not None
    read = asyncio.Event()
    prepare = users.prepare

    async def reads() -> None:
        await prepare()
        read.set()

    monkeypatch.setattr(users, "prepare", reads)
    here._heard(Bell.TRUST)
    clock.advance(6)  # users are read by themselves after 30 s, which this does not reach
    await asyncio.wait_for(read.wait(), PATIENCE_SECONDS)


async def test_a_clock_that_is_set_back_stops_no_sign_of_life(
    tmp_path: Path, store: str, clock: FakeClock
) -> None:
    async with member(tmp_path, store, LIMITS, clock) as here:
        await here.parts.sweep.once()
        await executed(store, "UPDATE coordinators SET seen_at = seen_at - interval '60 seconds'")
        clock.advance(-3600)
        await here.parts.sweep.once()
        assert await is_seen(store)


async def test_a_clock_that_is_set_back_makes_nobody_wait_for_the_silent(
    tmp_path: Path, store: str, clock: FakeClock
) -> None:
    async with (
        member(tmp_path, store, LIMITS, clock) as here,
        foreign_worker(here.http, here.url) as worker,
    ):
        await worker.register("TASK")
        clock.advance(-3600)
        await sweep(clock, 31, here)
        assert here.parts.seats.with_key(worker.pubkey) is None
