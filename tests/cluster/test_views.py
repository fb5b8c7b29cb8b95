"""Whichever coordinator is asked shows the whole network."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatchd.api.relay import TICKET
from dispatchd.core.job import Job, JobType
from dispatchd.core.neighbour import NETWORK
from tests.support.cluster import PATIENCE_SECONDS, Member, member
from tests.support.events import events
from tests.support.executors import Instant, Scripted
from tests.support.foreign import foreign_worker
from tests.support.keyholders import posing_as
from tests.support.ours import our_worker
from tests.support.postgres import Server

DONE: dict[str, object] = {"summary": "x", "word_count": 1}
PROMPT = {
    "job_type": "LLM_INFER",
    "user_id": "ann",
    "payload": {"job_type": "LLM_INFER", "prompt": "?"},
}


class Group:
    """Coordinators, of which each may end by itself."""

    def __init__(self, members: list[Member], stacks: list[AsyncExitStack]) -> None:
        self.members = members
        self._stacks = stacks

    async def kill(self, place: int) -> None:
        """One is no longer there, and tells nobody."""
        await self._stacks[place].aclose()


@asynccontextmanager
async def group(folder: Path, store: str, names: str) -> AsyncIterator[Group]:
    async with AsyncExitStack() as all_stacks:
        members, stacks = [], []
        for name in names:
            (folder / name).mkdir()
            stack = await all_stacks.enter_async_context(AsyncExitStack())
            members.append(await stack.enter_async_context(member(folder / name, store)))
            stacks.append(stack)
        await until_all(members, lambda each: count_of_others(each) == len(names) - 1)
        yield Group(members, stacks)


@pytest.fixture
def store(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
async def three(tmp_path: Path, store: str) -> AsyncIterator[Group]:
    async with group(tmp_path, store, "abc") as found:
        yield found


def count_of_others(each: Member) -> int:
    neighbours = each.parts.neighbours
    assert neighbours is not None
    return len(neighbours._others)


def knows_a_key(each: Member) -> bool:
    """Whether it has heard of a worker elsewhere that has proven its key."""
    return any(sitting.proven for sitting in each.parts.seats.elsewhere)


async def until_all(members: list[Member], holds: Callable[[Member], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        for each in members:
            while not holds(each):
                await asyncio.sleep(0.01)


async def answer(asked: Member, path: str, holds: Callable[[Any], bool]) -> Any:
    """What one answers, once that is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds(found := await asked.ask("GET", path)):
            await asyncio.sleep(0.05)
    return found


async def glance(asked: Member, completed: int) -> Any:
    """The network as one shows it, once so many jobs have completed."""
    return await answer(asked, "/v1/network", lambda found: found["now"]["completed"] == completed)


async def change(seen: AsyncIterator[tuple[str, Any, str]], wanted: Callable[[Any], bool]) -> Any:
    """What a watcher is told next that is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not wanted(news := (await anext(seen))[1]):
            pass
    return news


async def api_key(asked: Member, user_id: str) -> dict[str, str]:
    made = await asked.ask("POST", "/v1/users", {"user_id": user_id})
    return {"Authorization": f"Bearer {made['api_key']}"}


def states(found: dict[str, Any]) -> dict[str, str]:
    return {job["id"]: job["status"] for job in found["jobs"]}


def steps(shown: dict[str, Any]) -> list[str]:
    return [step["event"] for step in shown["steps"]]


def counted(found: dict[str, Any]) -> tuple[int, int]:
    """The jobs that were committed, and those that have completed, in all buckets."""
    completed = [
        share["completed"] for each in found["series"] for share in each["completed"].values()
    ]
    return sum(each["committed"] for each in found["series"]), sum(completed)


async def test_a_worker_is_shown_by_all_with_what_it_does(three: Group) -> None:
    first, second, third = three.members
    script = Scripted()
    async with our_worker(second.url, {JobType.TASK: script}, device="cpu") as key:
        await until_all([first, third], knows_a_key)
        running = await first.commit()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await script.started.wait()
        waiting, other = (
            await first.commit(),
            await first.ask("POST", "/v1/jobs/commit/fast", PROMPT),
        )
        for each in three.members:
            (worker,) = (await each.ask("GET", "/v1/workers"))["workers"]
            shown = (worker["provider_pubkey"], worker["online"], worker["proven"])
            assert shown == (key.public_hex, True, True)
            assert (worker["active_jobs"], worker["max_concurrent_jobs"]) == (1, 1)
            assert (worker["capabilities"], worker["device"]) == (["TASK"], "cpu")
            assert (worker["standing"], worker["record"]["completed"]) == ("good", 0)
            known = await each.ask("GET", "/v1/workers?all=true")
            assert known == {"workers": [worker], "next": None}
            assert (await each.ask("GET", "/v1/health"))["workers_online"] == 1
            for job_id, rule in ((waiting, "busy"), (other["job_id"], "not_capable")):
                explained = await each.ask("GET", f"/v1/jobs/{job_id}/explain")
                assert explained["verdict"] == "cannot run now"
                (verdict,) = explained["workers"]
                excluded = (verdict["provider_pubkey"], verdict["excluded_by"])
                assert excluded == (key.public_hex, rule)
        assert (await third.ask("GET", f"/v1/jobs/{running}/explain"))["verdict"] == "will run"
        script.pieces.put_nowait(DONE)
        script.pieces.put_nowait(DONE)
        await third.ended(waiting)
        (worker,) = (await first.ask("GET", "/v1/workers"))["workers"]
        assert (worker["active_jobs"], worker["record"]["completed"]) == (0, 2)
    await first.knows(workers=0)
    assert (await first.ask("GET", "/v1/health"))["workers_online"] == 0
    (worker,) = (await first.ask("GET", "/v1/workers?all=true"))["workers"]
    assert (worker["provider_pubkey"], worker["online"]) == (key.public_hex, False)


async def test_one_key_at_two_places_is_one_worker(three: Group) -> None:
    first, second, third = three.members
    async with (
        our_worker(second.url, {JobType.TASK: Instant(DONE)}) as key,
        foreign_worker(third.http, third.url) as thief,
    ):
        await until_all([first], knows_a_key)
        await posing_as(key.public_hex, thief).register("LLM_INFER")
        await first.knows(workers=2)
        (worker,) = (await first.ask("GET", "/v1/workers"))["workers"]
        assert (worker["proven"], worker["capabilities"]) == (True, ["TASK"])
        assert (await first.ask("GET", "/v1/health"))["workers_online"] == 1


async def test_a_job_is_seen_by_all_from_commit_to_end(three: Group) -> None:
    """One takes it, a worker of another does it, and the third has somebody who watches."""
    first, second, third = three.members
    script = Scripted()
    async with AsyncExitStack() as stack:
        watching = third.http.get(f"{third.url}/v1/network/events")
        seen = events(await stack.enter_async_context(watching))
        worker = our_worker(second.url, {JobType.TASK: script})
        key = await stack.enter_async_context(worker)
        await change(seen, lambda news: key.public_hex in news.get("present", ()))
        await first.knows(workers=1)
        job_id = await first.commit()
        last = await change(seen, lambda news: states(news).get(job_id) == "assigned")
        busy = {"running": 1, "waiting": 0}
        if not last["now"].items() >= busy.items():
            await change(seen, lambda news: news["now"].items() >= busy.items())
        script.pieces.put_nowait(DONE)
        last = await change(seen, lambda news: states(news).get(job_id) == "completed")
        (shown,) = [job for job in last["jobs"] if job["id"] == job_id]
        assert (shown["provider_pubkey"], steps(shown)) == (
            key.public_hex,
            ["committed", "assigned", "completed"],
        )
        for each in three.members:
            found = await glance(each, 1)
            assert states(found) == {job_id: "completed"}
            now = found["now"]
            assert (now["workers_online"], now["waiting"], now["running"]) == (1, 0, 0)
            assert (now["failed"], now["completed_in_last_minute"]) == (0, 1)
            assert counted(found) == (1, 1)
            life = await answer(each, f"/v1/jobs/{job_id}/timeline", lambda life: life["whole"])
            assert steps(life) == ["committed", "assigned", "completed"]
            assert all(step["at"] for step in life["steps"])


async def test_what_a_coordinator_counted_goes_with_it(three: Group) -> None:
    first, second, _ = three.members
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}):
        await first.knows(workers=1)
        job_id = await first.commit()
        await first.ended(job_id)
        await glance(first, 1)
    await three.kill(1)
    found = await first.ask("GET", "/v1/network")
    assert (found["now"]["completed"], counted(found)) == (1, (1, 1)), "it cannot be asked"
    life = await first.ask("GET", f"/v1/jobs/{job_id}/timeline")
    assert (life["whole"], steps(life)) == (False, ["committed", "assigned", "completed"])
    assert [step["at"] is None for step in life["steps"]] == [False, True, False]


async def test_the_last_minutes_outlive_who_counted_them(tmp_path: Path, store: str) -> None:
    async with group(tmp_path, store, "ab") as two:
        first, second = two.members
        async with our_worker(second.url, {JobType.TASK: Instant(DONE)}):
            await first.knows(workers=1)
            await first.ended(await first.commit())
            await glance(first, 1)
        neighbours = second.parts.neighbours
        assert neighbours is not None
        await neighbours.withdraw()
        found = await glance(first, 0)
        assert counted(found) == (1, 1)
        assert found["now"]["failed"] == 0


async def test_a_private_job_is_listed_for_its_user_alone(three: Group) -> None:
    first, second, third = three.members
    mine, others = [await api_key(first, name) for name in ("ann", "bob")]
    await until_all(three.members, lambda each: each.parts.coordinator.users.protected("bob"))
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}) as worker:
        await first.knows(workers=1)
        code = await first.ask("POST", "/v1/trust/create", {"user_id": "ann"}, **mine)
        claim = {"pairing_code": code["pairing_code"], "provider_pubkey": worker.public_hex}
        await second.ask("POST", "/v1/trust/claim", claim)
        payload = {"job_type": "TASK", "task_type": "summarize", "input": "a b c"}
        body = {
            "job_type": "TASK",
            "user_id": "ann",
            "privacy_class": "PRIVATE",
            "payload": payload,
        }
        job_id = (await second.ask("POST", "/v1/jobs/commit/cheap", body, **mine))["job_id"]
        await second.ask("GET", f"/v1/jobs/{job_id}?wait=20", **mine)
    for headers, visible in (({}, False), (others, False), (mine, True)):
        found = await third.ask("GET", "/v1/network", **headers)
        assert (job_id in states(found)) is visible
        async with third.http.get(
            f"{third.url}/v1/jobs/{job_id}/timeline", headers=headers
        ) as reply:
            assert reply.status == (200 if visible else 401)
    asking = third.parts.neighbours
    assert asking is not None
    for subject, status in ((job_id, 200), (NETWORK, 401), ("another job", 401)):
        headers = {TICKET: asking.ticket(subject)}
        async with second.http.get(
            f"{second.url}/v1/jobs/{job_id}/timeline", headers=headers
        ) as reply:
            assert reply.status == status, subject


async def test_nothing_more_is_read_where_nobody_looks(
    three: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = three.members
    read: list[Job] = []
    neighbours = first.parts.neighbours
    assert neighbours is not None
    latest = neighbours.cluster.latest

    async def noted(most: int, job_ids: list[str]) -> list[Job]:
        found = await latest(most, job_ids)
        read.extend(found)
        return found

    monkeypatch.setattr(neighbours.cluster, "latest", noted)
    recent = first.parts.coordinator.overview.recent
    version = recent.version
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}):
        await first.knows(workers=1)
        assert recent.version > version, "whoever watched would be told of the worker"
        await first.ended(await first.commit())
    assert neighbours.moved.is_set()
    assert read == []
    await first.ask("GET", "/v1/network")
    assert len(read) >= 1
