"""What only a shared store must do: several at once, one that dies, a server that goes away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.errors import LeaseLost, StoreUnavailable, TooMany, Unusable
from dispatchd.core.job import Grant, IdempotencyKey, JobType, Lane, Lease
from dispatchd.core.neighbour import Bell, Changes, Sitting
from dispatchd.core.payment import PaymentState
from dispatchd.core.record import Blame, WorkerRecord
from dispatchd.core.standing import Blamed, Standing, Strikes
from dispatchd.store.postgres.database import numbered
from dispatchd.store.postgres.store import open_postgres
from dispatchd.store.sql.store import SqlStore
from tests.store.test_conformance import DONE, KEY, PUBLIC_TASKS, grant, job, leased
from tests.store.test_moving import payment
from tests.support.clock import FakeClock
from tests.support.postgres import Server, programs, running_server

FIRST, SECOND, THIRD = "a1" * 32, "b2" * 32, "c3" * 32
Trio = tuple[SqlStore, SqlStore, SqlStore]


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
async def trio(url: str) -> AsyncIterator[Trio]:
    async with AsyncExitStack() as stack:
        first, second, third = [
            await stack.enter_async_context(open_postgres(url, key))
            for key in (FIRST, SECOND, THIRD)
        ]
        yield first, second, third


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SELECT 1", "SELECT 1"),
        ("a = ? AND b = ?", "a = $1 AND b = $2"),
        ("a = ?1 OR b = ?1 OR c = ?2", "a = $1 OR b = $1 OR c = $2"),
    ],
)
def test_parameters_get_numbers(ours: str, theirs: str) -> None:
    assert numbered(ours) == theirs


async def test_every_job_is_leased_once_however_many_want_it(trio: Trio) -> None:
    pending = [job(number) for number in range(60)]
    await asyncio.gather(*(trio[0].jobs.add(each) for each in pending))
    wanted = [
        [
            replace(grant(each), worker_key=f"{place:064}")
            for each in pending[start:] + pending[:start]
        ]
        for place, start in enumerate((0, 20, 40))
    ]
    claims = (store.jobs.assign(grants) for store, grants in zip(trio, wanted, strict=True))
    agreed = await asyncio.gather(*claims)
    got = [
        one.job.id
        for grants, stands in zip(wanted, agreed, strict=True)
        for one, stood in zip(grants, stands, strict=True)
        if stood
    ]
    assert sorted(got) == sorted(each.id for each in pending)
    assert await trio[1].jobs.waiting({PUBLIC_TASKS: 99}) == []


async def test_faults_that_several_tell_of_at_once_are_judged_one_after_the_other(
    trio: Trio,
) -> None:
    held = [await leased(trio[0], number) for number in range(30)]
    blamed = Blamed(Blame.FAILED, lambda before: Strikes(before.strikes.strikes + 1))
    failures = [trio[place % 3].jobs.fail(each, "x", blamed) for place, each in enumerate(held)]
    stood = [each.strikes.strikes for each in await asyncio.gather(*failures) if each is not None]
    assert sorted(stood) == list(range(1, 31))
    expected = Standing(WorkerRecord(failed=30), Strikes(30))
    assert await trio[1].records.standing(KEY) == expected


async def test_limits_hold_across_coordinators(trio: Trio) -> None:
    adds = [
        store.jobs.add(job(place * 10 + number), open_max=3)
        for place, store in enumerate(trio)
        for number in range(5)
    ]
    outcomes = await asyncio.gather(*adds, return_exceptions=True)
    assert sum(isinstance(each, TooMany) for each in outcomes) == 12
    assert await trio[0].jobs.count_waiting() == 3


async def test_one_key_stands_for_one_job_wherever_it_comes(trio: Trio) -> None:
    key = IdempotencyKey("ann", "k", "f", 0)
    adds = [store.jobs.add(job(place), key) for place, store in enumerate(trio)]
    assert len(set(await asyncio.gather(*adds))) == 1
    assert await trio[0].jobs.count_waiting() == 1


async def test_moves_in_opposite_orders_all_happen(trio: Trio) -> None:
    """Groups that lock the same rows in another order are in each other's way, and try again."""
    held = [await leased(trio[0], number) for number in range(30)]
    leases = [Lease(each.id, 1) for each in held]
    first, second = trio[0].jobs, trio[1].jobs
    there = [first.start(lease) for lease in leases]
    back = [second.start(lease) for lease in reversed(leases)]
    await asyncio.gather(*there, *back)
    states = [await first.get(each.id) for each in held]
    assert {str(each.status) for each in states if each is not None} == {"running"}


async def test_what_breaks_a_constraint_breaks_nothing_else(trio: Trio) -> None:
    await trio[0].jobs.add(job(1))
    adds = [trio[0].jobs.add(job(number)) for number in (2, 1, 3)]
    key = trio[0].users.put_key("ann", bytes(32), None, 1)
    outcomes = await asyncio.gather(*adds, key, return_exceptions=True)
    kinds = [isinstance(each, asyncpg.UniqueViolationError) for each in outcomes]
    assert kinds == [False, True, False, False]
    assert await trio[0].jobs.count_waiting() == 3


async def test_payments_of_a_coordinator_that_is_gone_are_taken_over_once(trio: Trio) -> None:
    first, second, third = trio
    await first.payments.reserve(payment(1), 4)
    await first.payments.reserve(payment(2), 4)
    paid = replace(job(1), payment_ref="p", settling=True)
    await first.jobs.add(paid, paid_with=payment(1).key, open_payments_max=4)
    (mine,) = await first.payments.due(10, 9)
    assert await second.payments.due(10, 9) == []
    assert await second.payments.recover(10) == 0  # what others are doing is theirs
    assert first.cluster is not None
    await first.cluster.withdraw()
    taken = await asyncio.gather(second.payments.due(10, 9), third.payments.due(10, 9))
    ((theirs,),) = [each for each in taken if each]
    assert (theirs.key, theirs.tries, theirs.state) == (mine.key, 1, PaymentState.CAPTURING)
    assert await first.payments.find(payment(2).key) is None
    with pytest.raises(LeaseLost):
        await first.payments.captured(mine, "0x1", 11)
    holder = second if taken[0] else third
    await holder.payments.captured(theirs, "0x1", 11)
    assert [each.id for each in await first.jobs.waiting({PUBLIC_TASKS: 9})] == ["job-1"]


async def test_chains_grow_side_by_side(trio: Trio) -> None:
    for place, store in enumerate(trio):
        for number in range(place + 1):
            mine = await leased(store, place * 10 + number)
            await store.jobs.finish(mine, DONE, at=number)
    assert [(await store.chain.root()).size for store in trio] == [1, 2, 3]
    assert await trio[0].chain.place_of("job-10") is None
    assert [job_id for _, job_id in await trio[1].chain.page(0, 9)] == ["job-10", "job-11"]


async def test_a_bell_rings_elsewhere_once_for_a_group(trio: Trio) -> None:
    first, second, _ = trio
    assert second.cluster is not None
    heard: asyncio.Queue[Bell] = asyncio.Queue()
    listening = asyncio.create_task(second.cluster.listen(heard.put_nowait, FakeClock()))
    try:
        async with asyncio.timeout(20):
            assert {await heard.get() for _ in Bell} == set(Bell)  # it has just begun to hear
            await asyncio.gather(*(first.jobs.add(job(number)) for number in range(200)))
            await first.users.put_key("ann", bytes(32), None, 1)
            rung = []
            while (bell := await heard.get()) is not Bell.TRUST:
                rung.append(bell)
    finally:
        listening.cancel()
    assert 1 <= rung.count(Bell.JOBS) <= 5  # a group is what came while another was stored


async def test_a_sign_of_life_rings_no_bell(trio: Trio) -> None:
    first, second, _ = trio
    assert first.cluster is not None
    assert second.cluster is not None
    await first.cluster.announce("http://a:1", Changes(whole=True))
    heard: asyncio.Queue[Bell] = asyncio.Queue()
    listening = asyncio.create_task(second.cluster.listen(heard.put_nowait, FakeClock()))
    try:
        async with asyncio.timeout(20):
            assert {await heard.get() for _ in Bell} == set(Bell)  # it has just begun to hear
            await first.users.put_key("ann", bytes(32), None, 1)
            while await heard.get() is not Bell.TRUST:
                pass  # what was rung before
            await first.jobs.check()
            await first.cluster.announce("http://a:1", Changes())
            await first.users.put_key("bob", bytes(31) + b"1", None, 1)
            assert await heard.get() is Bell.TRUST
            await first.cluster.withdraw()
            assert await heard.get() is Bell.PEOPLE
            await first.jobs.check()
            assert await heard.get() is Bell.PEOPLE
    finally:
        listening.cancel()


def sitting(worker_key: str, since: int = 1) -> Sitting:
    slots = (Slots(frozenset({JobType.TASK}), 1),)
    card = WorkerCard(
        provider_pubkey=worker_key, provider_type=ProviderType.DESKTOP, slots=slots, models=("m",)
    )
    users = frozenset({"ann"})
    return Sitting(card, users, since, proven=True, proving=False, suspended=False)


async def test_neighbours_tell_only_what_has_changed(trio: Trio) -> None:
    mine, theirs = trio[0].cluster, trio[1].cluster
    assert mine is not None
    assert theirs is not None

    async def news(known: int | None = None) -> tuple[int, Changes]:
        others = await theirs.neighbours({} if known is None else {FIRST: known}, 30)
        (found,) = (each for each in others if each.coordinator_key == FIRST)
        assert found.url == "http://a:1"
        return found.version, found.changes

    ann, bob = sitting("01" * 32), sitting("02" * 32)
    await mine.announce("http://a:1", Changes((ann, bob), whole=True))
    version, changes = await news()
    assert set(changes.came) == {ann, bob}
    assert changes.whole
    await mine.announce("http://a:1", Changes())
    assert await news(version) == (version, Changes())
    later = sitting(ann.key, since=2)
    await mine.announce("http://a:1", Changes((later,), (bob.key,)))
    newer, changes = await news(version)
    assert newer > version
    assert changes == Changes((later,), (bob.key,))
    assert (await news())[1] == Changes((later,), whole=True)
    await mine.withdraw()
    assert FIRST not in {
        each.coordinator_key for each in await theirs.neighbours({FIRST: newer}, 30)
    }
    await mine.announce("http://a:1", Changes((bob,), whole=True))  # another process of the same
    assert (await news(newer))[1] == Changes((bob,), whole=True)


async def test_the_dead_are_forgotten_after_a_day(trio: Trio, url: str) -> None:
    one, two, three = (store.cluster for store in trio)
    assert one is not None
    assert two is not None
    assert three is not None
    ann, bob = sitting("01" * 32), sitting("02" * 32)
    await one.announce("http://a:1", Changes((ann, bob), whole=True))
    await two.announce("http://b:1", Changes((ann,), whole=True))
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    try:
        for key, hours in ((FIRST, 25), (SECOND, 23)):
            sql = "UPDATE coordinators SET seen_at = now() - $2 * interval '1 h'"
            sql += " WHERE coordinator_key = $1"
            await connection.execute(sql, key, hours)
        await three.announce("http://c:1", Changes(whole=True))
        left = await connection.fetch("SELECT DISTINCT coordinator_key FROM sittings")
        assert [row[0] for row in left] == [SECOND]
    finally:
        await connection.close()
    await trio[0].jobs.check()  # it was asleep
    with pytest.raises(StoreUnavailable, match="not known"):
        await one.announce("http://a:1", Changes((ann,)))
    await one.announce("http://a:1", Changes((ann, bob), whole=True))
    (found,) = (each for each in await two.neighbours({}, 30) if each.coordinator_key == FIRST)
    assert set(found.changes.came) == {ann, bob}


async def test_a_newer_database_is_refused(url: str) -> None:
    async with open_postgres(url, FIRST) as store:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
        await connection.execute("INSERT INTO dispatchd_version VALUES (99)")
        await connection.close()
        with pytest.raises(StoreUnavailable, match="of version 99"):
            await store.jobs.count_waiting()
    with pytest.raises(Unusable, match="newer dispatchd"):
        async with open_postgres(url, FIRST):
            pass


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://nobody@127.0.0.1:1/x", "Cannot use"),
        ("postgresql://h/x?host=/nowhere", "Cannot use"),
        ("postgresql://[", "--store"),
    ],
)
async def test_an_address_where_there_is_nothing_is_refused(address: str, words: str) -> None:
    with pytest.raises(Unusable, match=words):
        async with open_postgres(address, FIRST):
            pass


async def test_a_server_that_was_away_is_used_again(tmp_path: Path) -> None:
    if (folder := programs()) is None:
        pytest.skip("needs program: initdb")
    with running_server(folder) as server:
        async with open_postgres(server.url, FIRST) as store:
            await store.jobs.add(job(1))
            await asyncio.to_thread(server.stop)
            for verb in (
                lambda: store.jobs.add(job(2)),
                lambda: store.jobs.get("job-1"),
                lambda: store.jobs.assign([Grant(job(1), KEY, 5000, 9000)]),
            ):
                for _ in range(2):
                    with pytest.raises(StoreUnavailable):
                        await verb()
            assert store.jobs.problem is not None
            await asyncio.to_thread(server.start)
            await store.jobs.add(job(3))
            assert store.jobs.problem is None
            waiting = await store.jobs.waiting({Lane(job(1).job_type): 9})
            assert [each.id for each in waiting] == ["job-1", "job-3"]


_FINISHED = """
    INSERT INTO jobs (id, job_type, tier, privacy, user_id, created_at, status, lane, rank,
        worker_key, payload, output, receipt, signature, completed_at, attempt)
    SELECT 'old-' || n, 'TASK', 'CHEAP', 'PUBLIC', 'user', n, 'completed', '["TASK"]', n,
        'w', '{}', '{}', '{}', '', n, 1
    FROM generate_series(1, 20000) AS n
"""
_READ_THROUGH = """
    SELECT seq_tup_read FROM pg_stat_user_tables
    WHERE relname = 'jobs' AND schemaname = current_schema()
"""

_STILL_THERE = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dispatchd'"


async def test_no_verb_of_the_queue_reads_through_what_has_ended(url: str) -> None:
    """Whatever the number of finished jobs, each finds its rows by an index."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    try:
        await _use_beside_what_has_ended(connection, url)
    finally:
        await connection.close()


async def _use_beside_what_has_ended(connection: "asyncpg.Connection[Any]", url: str) -> None:
    async with open_postgres(url, FIRST):
        pass
    await connection.execute(_FINISHED)
    await connection.execute("VACUUM ANALYZE jobs")
    await connection.execute("SELECT pg_stat_force_next_flush()")
    before = await connection.fetchval(_READ_THROUGH)
    async with open_postgres(url, FIRST) as store:
        held = [await leased(store, number) for number in range(4)]
        await store.jobs.add(job(5), IdempotencyKey("user", "k", "f", 0), open_max=99)
        await store.jobs.start(Lease(held[0].id, 1))
        await store.jobs.renew({Lease(held[0].id, 1): 7000})
        await store.jobs.take_over(KEY, [held[0].id], 1, 8000)
        await store.jobs.finish(held[0], DONE, at=1)
        await store.jobs.put_back(Lease(held[1].id, 1), held[1])
        await store.jobs.fail(held[2], "broken")
        assert await store.jobs.waiting_lanes() == [PUBLIC_TASKS]
        assert len(await store.jobs.waiting({PUBLIC_TASKS: 9})) == 2
        assert await store.jobs.count_waiting() == 2
        assert len(await store.jobs.held_by(KEY)) == 1
        assert len(await store.jobs.overdue(9999, 9)) == 1
        assert await store.jobs.expired(9999, 9) == []
        assert await store.jobs.fail_stranded(PUBLIC_TASKS, 1, "x") == {}
        assert store.cluster is not None
        assert len(await store.cluster.states([each.id for each in held])) == 4
        assert len(await store.cluster.latest(3, [each.id for each in held])) == 7
        assert await store.cluster.leases() == {KEY: {JobType.TASK: 1}}
    async with asyncio.timeout(20):
        while await connection.fetchval(_STILL_THERE):  # a connection tells what it did at its end
            await asyncio.sleep(0.01)
    assert await connection.fetchval(_READ_THROUGH) == before


async def test_the_latest_jobs_come_without_what_people_wrote(trio: Trio) -> None:
    store, cluster = trio[0], trio[1].cluster
    assert cluster is not None
    for number in range(4):
        await store.jobs.add(job(number))
    done = await leased(store, 4)
    await store.jobs.finish(done, DONE, at=7)
    found = await cluster.latest(2, ["job-0", "job-4", "none"])
    assert [each.id for each in found] == ["job-0", "job-4", "job-3", "job-4"]
    stored = await store.jobs.get("job-4")
    assert stored is not None
    assert found[-1] == replace(stored, payload="", output=None, receipt=None, signature=None)
    assert (found[-1].completed_at, await cluster.latest(0, [])) == (7, [])


async def test_a_coordinator_is_there_once(url: str) -> None:
    async with open_postgres(url, FIRST):
        with pytest.raises(Unusable, match="with the same key"):
            async with open_postgres(url, FIRST):
                pass
    async with open_postgres(url, FIRST):
        pass


async def test_a_store_that_is_closed_does_nothing(url: str) -> None:
    async with open_postgres(url, FIRST) as store:
        await store.jobs.add(job(1))
    for verb in (store.jobs.get("job-1"), store.jobs.add(job(2))):
        with pytest.raises(StoreUnavailable, match="closed"):
            await verb


async def test_two_stores_in_schemas_of_one_database_leave_each_other_alone(
    postgres: Server,
) -> None:
    addresses = await asyncio.to_thread(lambda: [postgres.database() for _ in range(2)])
    async with open_postgres(addresses[0], FIRST) as one, open_postgres(addresses[1], FIRST) as two:
        await one.jobs.add(job(1))
        assert await two.jobs.get("job-1") is None
