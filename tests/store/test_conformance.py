"""What every store must do; a new store joins by one more parameter of the fixture `open_store`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from dispatchd.core.errors import LeaseLost, PairingRefused
from dispatchd.core.job import (
    MOVES,
    Completion,
    Grant,
    Job,
    JobStatus,
    JobType,
    Lane,
    Lease,
    Privacy,
    Refusal,
    Tier,
)
from dispatchd.core.trust import PairingCode
from dispatchd.store.sql.store import SqlStore

KEY = "ab" * 32
DONE = Completion('{"a":1.0}', "sha256:00", '{"job_id":"x"}', "c2ln")
PUBLIC_TASKS = Lane(JobType.TASK)


def job(number: int = 1, **fields: Any) -> Job:
    values: dict[str, Any] = {
        "id": f"job-{number}",
        "job_type": JobType.TASK,
        "tier": Tier.CHEAP,
        "privacy": Privacy.PUBLIC,
        "user_id": "user",
        "payload": '{"job_type":"TASK", "input":"\\u00e9 1.0"}',
        "created_at": 1000 + number,
        "rank": number,
    }
    return Job(**(values | fields))


def grant(pending: Job, until: int = 5000, run_until: int = 9000) -> Grant:
    return Grant(pending, KEY, until, run_until)


async def leased(store: SqlStore, number: int = 1, **fields: Any) -> Job:
    """Adds a job and assigns it; returns it as it then is."""
    pending = job(number, **fields)
    await store.jobs.add(pending)
    assert await store.jobs.assign([grant(pending)]) == [True]
    return grant(pending).leased


async def found(store: SqlStore, number: int = 1) -> Job:
    stored = await store.jobs.get(f"job-{number}")
    assert stored is not None
    return stored


async def test_a_job_comes_back_as_it_was_stored(store: SqlStore) -> None:
    stored = job(privacy=Privacy.PRIVATE, avoid=(Refusal(KEY, 7),), faults=1)
    await store.jobs.add(stored)
    assert await found(store) == stored
    assert await store.jobs.get("unknown") is None


async def test_lanes_give_their_jobs_in_order_of_rank(store: SqlStore) -> None:
    for number, rank in ((1, 30), (2, 10), (3, 20), (4, 5)):
        await store.jobs.add(job(number, rank=rank))
    await store.jobs.add(job(5, rank=1, job_type=JobType.LLM_INFER))
    await store.jobs.add(job(6, rank=0, privacy=Privacy.PRIVATE))
    first = await store.jobs.waiting({PUBLIC_TASKS: 3})
    assert [each.id for each in first] == ["job-4", "job-2", "job-3"]
    both = await store.jobs.waiting({PUBLIC_TASKS: 1, Lane(JobType.LLM_INFER): 1})
    assert [each.id for each in both] == ["job-5", "job-4"]
    assert set(await store.jobs.waiting_lanes()) == {
        PUBLIC_TASKS,
        Lane(JobType.LLM_INFER),
        Lane(JobType.TASK, "user"),
    }
    assert await store.jobs.count_waiting() == 6


async def test_equal_ranks_keep_the_order_of_coming(store: SqlStore) -> None:
    for number in (3, 1, 2):
        await store.jobs.add(job(number, rank=7))
    assert [j.id for j in await store.jobs.waiting({PUBLIC_TASKS: 9})] == [
        "job-3",
        "job-1",
        "job-2",
    ]


async def test_only_one_of_two_grants_for_a_job_stands(store: SqlStore) -> None:
    pending = job()
    await store.jobs.add(pending)
    other = replace(grant(pending), worker_key="cd" * 32)
    assert await store.jobs.assign([grant(pending), other]) == [True, False]
    stored = await found(store)
    assert (stored.status, stored.attempt, stored.worker_key) == (JobStatus.ASSIGNED, 1, KEY)
    assert await store.jobs.waiting({PUBLIC_TASKS: 9}) == []


async def test_a_finished_job_keeps_the_texts_to_the_byte(store: SqlStore) -> None:
    mine = await leased(store)
    await store.jobs.finish(mine, DONE, at=4000)
    stored = await found(store)
    assert (stored.output, stored.receipt, stored.signature) == (
        DONE.output,
        DONE.receipt,
        DONE.signature,
    )
    assert (stored.status, stored.completed_at, stored.worker_key) == (
        JobStatus.COMPLETED,
        4000,
        KEY,
    )
    assert stored.payload == mine.payload


async def test_a_lease_of_another_attempt_changes_nothing(store: SqlStore) -> None:
    mine = await leased(store)
    await store.jobs.put_back(Lease(mine.id, 1), replace(mine, faults=1))
    again = await found(store)
    assert await store.jobs.assign([grant(again)]) == [True]
    before = await found(store)
    late = Lease(mine.id, 1)
    for verb in (
        store.jobs.start(late),
        store.jobs.finish(mine, DONE, at=1),
        store.jobs.put_back(late, mine),
        store.jobs.fail(mine, "late"),
    ):
        with pytest.raises(LeaseLost):
            await verb
    await store.jobs.renew({late: 99_999})
    assert await found(store) == before


async def test_put_back_moves_a_refused_job_to_its_own_lane(store: SqlStore) -> None:
    mine = await leased(store)
    await store.jobs.put_back(Lease(mine.id, 1), replace(mine, avoid=(Refusal(KEY, 3),)))
    assert await store.jobs.waiting({PUBLIC_TASKS: 9}) == []
    (back,) = await store.jobs.waiting({Lane(JobType.TASK, retried=True): 9})
    assert (back.avoid, back.worker_key, back.run_until) == ((Refusal(KEY, 3),), None, None)


async def test_overdue_is_what_ran_out_of_lease_or_of_time(store: SqlStore) -> None:
    await leased(store, 1)
    pending = job(2)
    await store.jobs.add(pending)
    await store.jobs.assign([grant(pending, until=90_000, run_until=6000)])
    assert await store.jobs.overdue(4999, 9) == []
    assert [each.id for each in await store.jobs.overdue(5000, 9)] == ["job-1"]
    assert len(await store.jobs.overdue(6000, 9)) == 2
    assert len(await store.jobs.overdue(6000, 1)) == 1
    await store.jobs.renew({Lease("job-1", 1): 7000})
    assert [each.id for each in await store.jobs.overdue(6999, 9)] == ["job-2"]
    assert (await found(store)).status is JobStatus.RUNNING


async def test_stranded_jobs_fail_by_lane_and_age(store: SqlStore) -> None:
    for number in (1, 2, 3):
        await store.jobs.add(job(number))
    await store.jobs.add(job(4, job_type=JobType.LLM_INFER))
    assert sorted(await store.jobs.fail_stranded(PUBLIC_TASKS, 1002, "nobody")) == [
        "job-1",
        "job-2",
    ]
    assert (await found(store, 1)).error == "nobody"
    assert (await found(store, 3)).status is JobStatus.PENDING
    assert (await found(store, 4)).status is JobStatus.PENDING


async def test_held_by_names_the_leases_of_a_worker(store: SqlStore) -> None:
    mine = await leased(store)
    assert [each.id for each in await store.jobs.held_by(KEY)] == [mine.id]
    assert await store.jobs.held_by("cd" * 32) == []


async def test_many_writes_at_once_all_happen(store: SqlStore) -> None:
    await asyncio.gather(*(store.jobs.add(job(number)) for number in range(500)))
    assert await store.jobs.count_waiting() == 500


@pytest.mark.parametrize("count", [2, 31, 32, 33, 70])
async def test_of_many_results_at_once_only_the_one_without_its_lease_is_refused(
    store: SqlStore, count: int
) -> None:
    await asyncio.gather(*(leased(store, number) for number in range(count)))
    attempts = [2] + [1] * (count - 1)
    outcomes = await asyncio.gather(
        *(
            store.jobs.finish(job(number, attempt=attempt), DONE, at=1)
            for number, attempt in enumerate(attempts)
        ),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [LeaseLost] + [type(None)] * (count - 1)
    statuses = [(await found(store, number)).status for number in range(count)]
    assert statuses == [JobStatus.ASSIGNED] + [JobStatus.COMPLETED] * (count - 1)


async def test_a_text_may_hold_anything(store: SqlStore) -> None:
    mine = await leased(store)
    await store.jobs.fail(mine, "a \0 reason")
    stored = await found(store)
    assert stored.status is JobStatus.FAILED
    assert (stored.error or "").startswith("a ")
    assert await store.jobs.get("job-\0") is None
    assert await store.jobs.take_over(KEY, ["\0"], 1, 2) == []


async def put_into(store: SqlStore, status: JobStatus) -> Job:
    """Brings a job into a status by the verbs alone; returns it as its holder believes it to be."""
    if status is JobStatus.PENDING:
        await store.jobs.add(job())
        return job()
    mine = await leased(store)
    lease = Lease(mine.id, 1)
    match status:
        case JobStatus.RUNNING:
            await store.jobs.start(lease)
        case JobStatus.COMPLETED:
            await store.jobs.finish(mine, DONE, at=1)
        case JobStatus.FAILED:
            await store.jobs.fail(mine, "broken")
    return mine


VERBS = ("assign", "start", "finish", "put_back", "fail", "fail as pending", "strand")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", JobStatus)
async def test_no_verb_makes_a_move_that_is_not_in_the_table(
    store: SqlStore, status: JobStatus, verb: str
) -> None:
    mine = await put_into(store, status)
    lease = Lease(mine.id, 1)
    actions: dict[str, Callable[[], Awaitable[object]]] = {
        "assign": lambda: store.jobs.assign([grant(replace(mine, attempt=mine.attempt))]),
        "start": lambda: store.jobs.start(lease),
        "finish": lambda: store.jobs.finish(mine, DONE, at=1),
        "put_back": lambda: store.jobs.put_back(lease, mine),
        "fail": lambda: store.jobs.fail(replace(mine, status=JobStatus.ASSIGNED), "x"),
        "fail as pending": lambda: store.jobs.fail(replace(mine, status=JobStatus.PENDING), "x"),
        "strand": lambda: store.jobs.fail_stranded(PUBLIC_TASKS, 99_999, "x"),
    }
    try:
        await actions[verb]()
    except LeaseLost:
        assert (await found(store)).status is status
    after = (await found(store)).status
    assert after is status or after in MOVES[status]


async def test_codes_are_claimed_once_and_in_time(store: SqlStore) -> None:
    assert await store.trust.add_code(PairingCode("A3F2B1", "user", 2000), now=1000)
    assert not await store.trust.add_code(PairingCode("A3F2B1", "thief", 9000), now=1999)
    pairing = await store.trust.claim_code("A3F2B1", KEY, now=1999)
    assert (pairing.user_id, pairing.provider_pubkey, pairing.paired_at) == ("user", KEY, 1999)
    assert await store.trust.pairings_of("user") == [pairing]
    assert await store.trust.users_of(KEY) == ["user"]
    for code, reason in (("A3F2B1", "already_claimed"), ("FFFFFF", "invalid_code")):
        with pytest.raises(PairingRefused, match=reason):
            await store.trust.claim_code(code, KEY, now=1999)


async def test_an_expired_code_is_refused_and_its_letters_can_be_used_again(
    store: SqlStore,
) -> None:
    await store.trust.add_code(PairingCode("A3F2B1", "user", 2000), now=1000)
    with pytest.raises(PairingRefused, match="expired"):
        await store.trust.claim_code("A3F2B1", KEY, now=2000)
    assert await store.trust.pairings_of("user") == []
    assert await store.trust.add_code(PairingCode("A3F2B1", "other", 9000), now=2000)
    assert (await store.trust.claim_code("A3F2B1", KEY, now=2001)).user_id == "other"
