"""Workers' records in the store: each attempt's end is counted by the write that ends it."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatchd.core.errors import LeaseLost
from dispatchd.core.job import Fault, Grant, Job, Lease
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame, WorkerRecord
from dispatchd.core.standing import Blamed, Standing, Strikes
from dispatchd.scheduler import strikes_after
from dispatchd.store.sql.store import SqlStore
from dispatchd.store.sqlite.store import open_sqlite
from tests.store.test_conformance import DONE, job

KEY, OTHER = "ab" * 32, "cd" * 32
LIMITS = Limits()


async def leased(store: SqlStore, number: int, key: str = KEY) -> Job:
    grant = Grant(job(number), key, 5000, 9000)
    await store.jobs.add(job(number), grant=grant)
    return grant.leased


def fixed(strikes: Strikes, blame: Blame = Blame.FAILED) -> Blamed:
    return Blamed(blame, lambda _: strikes)


async def test_a_worker_without_a_record_stands_as_new(store: SqlStore) -> None:
    assert await store.records.standing(KEY) == Standing()
    assert await store.records.standings([KEY]) == {KEY: Standing()}
    assert await store.records.known("", 9) == {}


async def test_the_write_that_ends_an_attempt_judges_and_says_how_the_worker_stands(
    store: SqlStore,
) -> None:
    first, second = await leased(store, 1), await leased(store, 2)
    strikes = Strikes(1, 2, 3, 4, 5)
    stands = await store.jobs.put_back(Lease(first.id, 1), first, fixed(strikes, Blame.LOST))
    assert stands == Standing(WorkerRecord(lost=1), strikes)
    seen: list[Standing] = []

    def judge(before: Standing) -> Strikes:
        seen.append(before)
        return before.strikes

    stands = await store.jobs.fail(second, "boom", Blamed(Blame.BAD_RECEIPTS, judge))
    assert seen == [Standing(WorkerRecord(lost=1), strikes)]
    assert stands == Standing(WorkerRecord(lost=1, bad_receipts=1), strikes)
    assert await store.records.standing(KEY) == stands


async def test_where_nobody_is_blamed_nothing_is_counted(store: SqlStore) -> None:
    first, second = await leased(store, 1), await leased(store, 2)
    assert await store.jobs.put_back(Lease(first.id, 1), first) is None
    assert await store.jobs.fail(second, "cancelled") is None
    assert await store.records.known("", 9) == {}


async def test_an_attempt_that_ended_otherwise_speaks_against_nobody(store: SqlStore) -> None:
    mine = await leased(store, 1)
    await store.jobs.finish(mine, DONE, at=1)
    for late in (
        store.jobs.put_back(Lease(mine.id, 1), mine, fixed(Strikes(9))),
        store.jobs.fail(mine, "late", fixed(Strikes(9))),
    ):
        with pytest.raises(LeaseLost):
            await late
    assert await store.records.standing(KEY) == Standing(WorkerRecord(completed=1))


async def test_the_standings_of_many_are_read_at_once(store: SqlStore) -> None:
    keys = [f"{number:064x}" for number in range(70)]
    for key in keys[::2]:
        await store.records.note_canary(key, passed=True)
    found = await store.records.standings([*keys, keys[0]])
    known = Standing(WorkerRecord(canaries_passed=1))
    assert found == {key: Standing() if place % 2 else known for place, key in enumerate(keys)}
    assert await store.records.standings([]) == {}


async def test_canaries_are_counted(store: SqlStore) -> None:
    for passed in (True, False, True):
        await store.records.note_canary(KEY, passed=passed)
    expected = Standing(WorkerRecord(canaries_passed=2, canaries_failed=1))
    assert await store.records.standing(KEY) == expected


async def test_the_known_come_in_pages_in_the_order_of_their_keys(store: SqlStore) -> None:
    keys = [f"{number:064x}" for number in (7, 1, 4, 9, 2)]
    for key in keys:
        await store.records.note_canary(key, passed=True)
    seen: list[str] = []
    while page := await store.records.known(seen[-1] if seen else "", 2):
        assert len(page) <= 2
        assert set(page.values()) == {Standing(WorkerRecord(canaries_passed=1))}
        seen += page
    assert seen == sorted(keys)


async def test_one_workers_record_says_nothing_of_another(store: SqlStore) -> None:
    mine, theirs = await leased(store, 1), await leased(store, 2, OTHER)
    await store.jobs.fail(mine, "boom", fixed(Strikes(2, 1)))
    await store.jobs.finish(theirs, DONE, at=1)
    assert await store.records.standings([OTHER, KEY]) == {
        KEY: Standing(WorkerRecord(failed=1), Strikes(2, 1)),
        OTHER: Standing(WorkerRecord(completed=1)),
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.none() | st.sampled_from(Blame), max_size=25))
def test_whatever_happens_the_store_counts_as_the_values_do(events: list[Blame | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_count_alike(Path(folder) / "jobs.sqlite3", events))


async def _count_alike(path: Path, events: list[Blame | None]) -> None:
    expected = Standing()
    async with open_sqlite(path) as store:
        for now, event in enumerate(events, start=10_000):
            held = await leased(store, now)
            if event is None:
                await store.jobs.finish(held, DONE, at=now)
                expected = expected.with_success()
                continue
            judge = partial(
                strikes_after, job=held, fault=Fault("x", event), now=now, limits=LIMITS
            )
            expected = expected.with_blame(event, judge(expected))
            assert await store.jobs.fail(held, "x", Blamed(event, judge)) == expected
    async with open_sqlite(path) as store:
        assert await store.records.standing(KEY) == expected


async def test_who_was_blamed_of_late_is_found(store: SqlStore) -> None:
    for number, (key, at) in enumerate(((KEY, 1000), (OTHER, 2000), ("ef" * 32, 3000))):
        held = await leased(store, number, key)
        await store.jobs.fail(held, "x", fixed(Strikes(1, at)))
    assert set(await store.records.struck_since(2000)) == {OTHER, "ef" * 32}
    assert await store.records.struck_since(3001) == {}
    assert (await store.records.struck_since(0))[KEY] == await store.records.standing(KEY)
