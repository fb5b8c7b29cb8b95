"""The chain in the store: it grows by exactly what completes, in the same write."""

import asyncio

import pytest

from dispatchd.core.chain import Entry
from dispatchd.core.errors import LeaseLost
from dispatchd.core.job import Completion, Grant, Job, JobType, Privacy, Tier
from dispatchd.core.merkle import root_by_path
from dispatchd.store.sql.store import SqlStore
from tests.support import auditor

KEY = "ab" * 32


def job(number: int, privacy: Privacy = Privacy.PUBLIC) -> Job:
    return Job(
        id=f"job-{number}",
        job_type=JobType.TASK,
        tier=Tier.CHEAP,
        privacy=privacy,
        user_id="user",
        payload=f'{{"n":{number}}}',
        created_at=number,
        rank=number,
    )


def done(number: int) -> Completion:
    return Completion(str(number), "sha256:00", f'{{"job_id":"job-{number}"}}', "c2ln")


async def leased(store: SqlStore, *numbers: int, privacy: Privacy = Privacy.PUBLIC) -> list[Job]:
    grants = [Grant(job(number, privacy), KEY, 5000, 9000) for number in numbers]
    await asyncio.gather(*(store.jobs.add(grant.job, grant=grant) for grant in grants))
    return [grant.leased for grant in grants]


async def finish(store: SqlStore, numbers: list[int], jobs: list[Job]) -> list[object]:
    """Finishes jobs at once; what came of each."""
    verbs = (
        store.jobs.finish(each, done(number), at=number)
        for number, each in zip(numbers, jobs, strict=True)
    )
    return await asyncio.gather(*verbs, return_exceptions=True)


async def whole(store: SqlStore) -> list[tuple[Entry, str | None]]:
    """The chain, of which every entry names the one before and has a path to the root."""
    found = await store.chain.page(0, 10_000)
    leaves = [entry.leaf for entry, _ in found]
    previous = [bytes(32), *leaves[:-1]]
    assert [entry.sequence for entry, _ in found] == list(range(1, len(found) + 1))
    assert [entry.previous for entry, _ in found] == [leaf.hex() for leaf in previous[: len(found)]]
    root = await store.chain.root()
    assert (root.size, root.root) == (len(found), auditor.tree_hash(leaves).hex())
    for entry, job_id in found:
        if job_id is not None:
            place = await store.chain.place_of(job_id)
            assert place is not None
            assert (place.entry, place.root) == (entry, root)
            path = [bytes.fromhex(each) for each in place.path]
            reached = root_by_path(entry.leaf, entry.sequence - 1, root.size, path)
            assert reached is not None
            assert reached.hex() == root.root
    return found


@pytest.mark.parametrize("counts", [[1] * 9, [2, 31, 1, 33], [70, 3]])
async def test_groups_of_any_size_make_one_chain(store: SqlStore, counts: list[int]) -> None:
    first = 0
    for count in counts:
        numbers = list(range(first, first + count))
        assert await finish(store, numbers, await leased(store, *numbers)) == [None] * count
        first += count
    assert [job_id for _, job_id in await whole(store)] == [f"job-{n}" for n in range(first)]


@pytest.mark.parametrize("count", [2, 32, 33, 70])
async def test_what_loses_its_lease_is_not_chained(store: SqlStore, count: int) -> None:
    numbers = list(range(count))
    mine = await leased(store, *numbers)
    await store.jobs.fail(mine[count // 2], "broken")
    outcomes = await finish(store, numbers, mine)
    assert [type(each) is LeaseLost for each in outcomes] == [n == count // 2 for n in numbers]
    found = {job_id for _, job_id in await whole(store)}
    assert found == {f"job-{n}" for n in numbers if n != count // 2}
    assert await store.chain.place_of(f"job-{count // 2}") is None


async def test_a_job_is_chained_once_though_it_is_handed_in_twice(store: SqlStore) -> None:
    (mine,) = await leased(store, 1)
    outcomes = await finish(store, [1, 1], [mine, mine])
    assert sorted(isinstance(each, LeaseLost) for each in outcomes) == [False, True]
    assert [job_id for _, job_id in await whole(store)] == ["job-1"]


async def test_a_page_names_no_private_job(store: SqlStore) -> None:
    for number, privacy in enumerate((Privacy.PUBLIC, Privacy.PRIVATE, Privacy.PUBLIC)):
        await finish(store, [number], await leased(store, number, privacy=privacy))
    found = await whole(store)
    assert [job_id for _, job_id in found] == ["job-0", None, "job-2"]
    assert await store.chain.page(1, 1) == [found[1]]
    assert await store.chain.page(3, 1) == []
    secret = await store.chain.place_of("job-1")
    assert secret is not None
    assert secret.entry == found[1][0]


async def test_a_chain_belongs_to_one_key(store: SqlStore) -> None:
    await store.chain.begin(KEY)
    await store.chain.begin("cd" * 32)
    assert await store.chain.owner() == KEY
