"""Waiting for a job's end: at once when it ends, for so long at the most, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatchd.coordinator.intake import Order
from dispatchd.coordinator.recent import Recent
from dispatchd.core.errors import NotFound, TooMany
from dispatchd.core.job import Fault, Job, JobStatus, JobType, Lease, Privacy, Tier
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame
from dispatchd.feed import Feed
from tests.coordinator.world import World
from tests.support.clock import FakeClock

TASK = Order(JobType.TASK, Tier.CHEAP, Privacy.PUBLIC, "ann", "{}")


def job(job_id: str, attempt: int) -> Job:
    return Job(
        id=job_id,
        job_type=TASK.job_type,
        tier=TASK.tier,
        privacy=TASK.privacy,
        user_id=TASK.user_id,
        payload=TASK.payload,
        created_at=0,
        rank=0,
        attempt=attempt,
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, Limits(watchers_max=3))
    await world.start()
    await world.rest()
    yield world
    await world.kill(flushed=False)
    world.ledger.close()


async def given(world: World, job_id: str = "job") -> None:
    """Commits a job, and has a worker take it."""
    world.spawn(world.submit(TASK, job_id, None))
    await world.rest()
    if world.peers[0].seat is None:
        world.spawn(world.join(world.peers[0], mentions=False))
    await world.rest()
    assert job_id in world.peers[0].running


async def waiting(world: World, seconds: float = 30, job_id: str = "job") -> asyncio.Task[Job]:
    """A request that waits, once it does."""
    request = asyncio.create_task(world.parts.coordinator.wait(job_id, seconds))
    await world.rest()
    return request


async def look(world: World) -> Job:
    """The job as it is stored."""
    looking = asyncio.create_task(world.parts.coordinator.get("job"))
    await world.rest()
    return await looking


async def ended(world: World) -> None:
    peer = world.peers[0]
    assert peer.seat is not None
    done = world.result(peer.key, "job")
    world.spawn(world.finish(peer.seat, peer.running["job"], done, good=True))
    await world.rest()


async def test_news_ring_for_their_own_job_alone() -> None:
    feed = Feed(9, Recent(FakeClock()))
    with feed.watching("a") as first, feed.watching("a") as second, feed.watching("b") as other:
        feed.progress(Lease("a", 1), "text")
        assert [ring.is_set() for _, ring in (first, second, other)] == [True, True, False]
        assert first[0] is second[0]
        assert (first[0].text, other[0].text) == ("text", "")
        feed.close()
        assert other[1].is_set()


async def test_no_more_watchers_than_allowed_and_each_is_given_back() -> None:
    feed = Feed(2, Recent(FakeClock()))
    with feed.watching("a"), feed.watching("b"):
        with pytest.raises(TooMany), feed.watching("c"):
            pass
        with pytest.raises(TooMany), feed.watching("a"):
            pass
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), feed.watching("a"):
            raise ZeroDivisionError
    assert feed._watchers == 0
    assert feed._live == {}


async def test_text_is_kept_for_late_watchers_while_its_attempt_runs_and_no_longer() -> None:
    feed = Feed(2, Recent(FakeClock()))
    feed.progress(Lease("a", 1), "one ")
    feed.progress(Lease("a", 1), "two")
    with feed.watching("a") as (live, _):
        assert (live.text, live.attempt, live.status) == ("one two", 1, JobStatus.RUNNING)
        feed.returned(job("a", 1), "lost")
        assert live.text == ""
        feed.progress(Lease("a", 2), "again")
        assert (live.text, live.attempt) == ("again", 2)
    feed.returned(job("a", 2), "lost")
    assert feed._live == {}


async def test_waiting_ends_at_once_when_the_job_is_completed(world: World) -> None:
    await given(world)
    requests = [await waiting(world) for _ in range(3)]
    assert not any(request.done() for request in requests)
    await ended(world)
    stored = await look(world)
    assert stored.status is JobStatus.COMPLETED
    for request in requests:
        assert request.done()
        assert await request == stored


async def test_waiting_ends_at_once_when_the_job_has_failed(world: World) -> None:
    await given(world)
    request = await waiting(world)
    peer = world.peers[0]
    assert peer.seat is not None
    fault = Fault("cannot", Blame.FAILED, final=True)
    world.spawn(world.fail(peer.seat, peer.running["job"], fault))
    await world.rest()
    assert request.done()
    seen, stored = await request, await look(world)
    assert (seen.status, seen.error) == (JobStatus.FAILED, "cannot")
    assert (stored.status, stored.error, stored.faults) == (seen.status, seen.error, seen.faults)


async def test_waiting_ends_at_once_when_nobody_can_do_the_job(world: World) -> None:
    world.spawn(world.submit(TASK, "job", None))
    await world.rest()
    request = await waiting(world, seconds=60)
    await world.pass_time(29, hop=1, alive=False)
    assert not request.done()
    await world.pass_time(1, hop=1, alive=False)
    assert request.done()
    assert (await request).error == "no_eligible_worker"


async def test_an_attempt_that_is_tried_again_does_not_end_the_waiting(world: World) -> None:
    await given(world)
    request = await waiting(world)
    world.leave(world.peers[0])
    await world.rest()
    assert not request.done()
    request.cancel()
    await world.rest()
    assert world.parts.feed._watchers == 0


async def test_waiting_ends_after_its_time_with_the_job_as_it_is(world: World) -> None:
    await given(world)
    request = await waiting(world, seconds=30)
    world.clock.advance(29.999)
    await world.rest()
    assert not request.done()
    world.clock.advance(0.001)
    await world.rest()
    assert request.done()
    assert (await request).status is JobStatus.ASSIGNED
    assert world.parts.feed._watchers == 0


async def test_too_many_watchers_are_answered_at_once(world: World) -> None:
    await given(world)
    requests = [await waiting(world) for _ in range(3)]
    one_more = await waiting(world)
    assert one_more.done()
    assert (await one_more).status is JobStatus.ASSIGNED
    await ended(world)
    assert all(request.done() for request in requests)
    again = await waiting(world)
    assert (await again).status is JobStatus.COMPLETED


async def test_a_job_that_ended_before_is_answered_at_once(world: World) -> None:
    await given(world)
    await ended(world)
    request = await waiting(world)
    assert request.done()
    assert (await request).status is JobStatus.COMPLETED


async def test_a_job_that_ends_while_the_watcher_looks_is_not_missed(world: World) -> None:
    """Listen first, look second: here the job is read before it ends, and answered after."""
    await given(world)
    request = asyncio.create_task(world.parts.coordinator.wait("job", 30))
    await world.gate.move(0)  # the read has happened
    assert not request.done()
    peer = world.peers[0]
    assert peer.seat is not None
    done = world.result(peer.key, "job")
    world.spawn(world.finish(peer.seat, peer.running["job"], done, good=True))
    await world.gate.move(0)
    await world.rest()
    assert request.done()
    assert (await request).status is JobStatus.COMPLETED


async def test_an_unknown_job_is_not_found_and_leaves_no_bell(world: World) -> None:
    request = await waiting(world, job_id="unknown")
    with pytest.raises(NotFound):
        await request
    assert world.parts.feed._watchers == 0
    assert world.parts.feed._live == {}
