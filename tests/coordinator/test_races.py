"""Races that were thought of: each spelt out, move by move of the store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dispatchd.coordinator.coordinator import Order
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import Job, JobStatus, JobType, Lane, Privacy, Tier
from dispatchd.core.limits import Limits
from tests.coordinator.gate import breathe
from tests.coordinator.world import World

TASK = Order(JobType.TASK, Tier.CHEAP, Privacy.PUBLIC, "ann", "{}")
PRIVATE = Order(JobType.TASK, Tier.FAST, Privacy.PRIVATE, "ann", "{}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, Limits())
    await world.start()
    await world.rest()
    yield world
    await world.kill(flushed=False)
    world.ledger.close()


async def joined(world: World, number: int = 0) -> None:
    world.spawn(world.join(world.peers[number], mentions=False))
    await world.rest()


async def until_happened(world: World, verb: str) -> None:
    """Lets the store go on until a write of that name is stored, and its caller not yet told."""
    while True:
        await breathe()
        writes = world.gate._writes
        if writes.happened and writes.happened[0].verb == verb:
            return
        assert await world.gate.move(0)


async def read_everything(world: World) -> None:
    """Lets reads happen and be answered, and new writes happen, but answers no write."""
    await breathe()
    reads, writes = world.gate._reads, world.gate._writes
    while reads.come or reads.happened or writes.come:
        if reads.happened:
            await world.gate._answer(reads)
        elif reads.come:
            await world.gate._let_happen(reads)
        else:
            await world.gate._let_happen(writes)
        await breathe()


def only_row(world: World) -> tuple[str, int, int]:
    (row,) = world.ledger.rows.values()
    return row["status"], row["attempt"], row["faults"]


async def test_a_worker_that_comes_back_during_its_assignment_breaks_nothing(
    world: World,
) -> None:
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await until_happened(world, "assign")
    world.spawn(world.join(world.peers[0], mentions=False))
    await read_everything(world)
    await world.rest()
    status, attempt, _ = only_row(world)
    assert (status, attempt) == (JobStatus.ASSIGNED, 2)


async def test_an_assignment_in_flight_is_put_back_when_the_node_stops(world: World) -> None:
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await until_happened(world, "assign")
    draining = world.spawn(world.drain(20))
    await read_everything(world)
    await world.rest()
    assert not draining.done() or only_row(world) == (JobStatus.PENDING, 1, 0)
    world.clock.advance(20)
    await world.rest()
    assert only_row(world) == (JobStatus.PENDING, 1, 0)


async def test_a_place_that_goes_before_it_is_looked_at_does_not_hide_the_queue(
    world: World,
) -> None:
    """The lane is forgotten, and a lane of refused jobs keeps the insurance from helping."""
    await joined(world)
    for number in range(3):
        world.spawn(world.submit(TASK, f"job-{number}", None))
    await world.rest()
    peer = world.peers[0]
    assert peer.seat is not None
    world.leave(peer)
    await world.rest()
    world.spawn(world.join(peer, mentions=False))
    while peer.seat is None or not peer.claims:
        reads, writes = world.gate._reads, world.gate._writes
        await world.gate.move(0) if reads.come or reads.happened or writes.come else None
        await asyncio.sleep(0)
    world.leave(peer)
    await world.rest()
    await joined(world, 1)
    assert [row["status"] for row in world.ledger.rows.values()].count(JobStatus.ASSIGNED) == 1


async def test_a_pairing_made_while_the_worker_joins_counts(world: World) -> None:
    """A worker with `--trust-code` claims the code and registers at the same time."""
    code = asyncio.ensure_future(world.parts.coordinator.create_code("ann"))
    await world.rest()
    peer = world.peers[0]
    joining = world.spawn(world.join(peer, mentions=False))
    await breathe()
    reads = world.gate._reads
    await world.gate._let_happen(reads)  # users_of
    key = peer.key.public_hex
    pairing = asyncio.ensure_future(
        world.parts.coordinator.claim_code((await code).code, key, "::1")
    )
    await breathe()
    while not pairing.done():
        line = world.gate._writes
        await (world.gate._let_happen(line) if line.come else world.gate._answer(line))
        await breathe()
    await world.rest()
    await joining
    assert peer.seat is not None
    assert peer.seat.can_do(Lane(JobType.TASK, "ann"))


async def test_a_worker_heard_every_29_seconds_keeps_its_lease(world: World) -> None:
    """30 s of silence end a lease; it is renewed by the worker's heartbeat."""
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await world.rest()
    seat = world.peers[0].seat
    assert seat is not None
    for second in range(1, 59):
        world.clock.advance(1)
        if second % 29 == 0:
            world.parts.work.heard(seat)
        world.sweep()
        await world.rest()
        assert seat.held, f"the lease is lost after {second} s"


async def test_stopping_gives_out_no_more_jobs_though_places_become_free(world: World) -> None:
    for number in range(4):
        await joined(world, number)
    for number in range(60):
        world.spawn(world.submit(TASK, f"job-{number}", None))
    at_stop: int | None = None
    for step in range(3000):
        if not await world.gate.move(step):
            break
        for peer in world.peers:
            for lease in list(peer.running.values()):
                assert peer.seat is not None
                done = world.result(peer.key, lease.job_id)
                world.spawn(world.finish(peer.seat, lease, done, good=True))
                del peer.running[lease.job_id]
            world.claim(peer)
        completed = sum(row["status"] == "completed" for row in world.ledger.rows.values())
        if at_stop is None and completed >= 8:
            world.parts.coordinator.stop()
            world.draining = True
            at_stop = sum(row["attempt"] for row in world.ledger.rows.values())
    assert at_stop is not None
    after = sum(row["attempt"] for row in world.ledger.rows.values())
    assert after - at_stop <= 4, f"{after - at_stop} more jobs were given out"


async def test_a_private_job_does_not_wait_while_a_public_lane_is_busy(world: World) -> None:
    """As soon as some place is free, the job with the lowest rank gets one, whatever its lane."""
    for number in range(4):
        await joined(world, number)
        world.spawn(world.pair("ann", world.peers[number]))
    await world.rest()
    for number in range(200):
        world.spawn(world.submit(TASK, f"job-{number}", None))
    given_before: int | None = None
    private: Job | None = None
    for step in range(20_000):
        if not await world.gate.move(step):
            break
        for peer in world.peers:
            for lease in list(peer.running.values()):
                assert peer.seat is not None
                done = world.result(peer.key, lease.job_id)
                world.spawn(world.finish(peer.seat, lease, done, good=True))
                del peer.running[lease.job_id]
            world.claim(peer)
        rows = world.ledger.rows
        if len(rows) == 200 and "private" not in rows and given_before is None:
            world.spawn(world.submit(PRIVATE, "private", None))
            given_before = -1
        if given_before == -1 and "private" in world.acknowledged:
            given_before = sum(row["attempt"] for row in rows.values())
        if "private" in rows and rows["private"]["attempt"]:
            break
    assert given_before is not None
    given = sum(row["attempt"] for row in world.ledger.rows.values()) - given_before
    assert private is None
    assert given <= 13, f"{given} public jobs went before a private one of lower rank"


async def test_a_place_is_not_lost_when_the_store_fails_during_delivery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two assignments in one batch; the first worker leaves, and putting its job back fails."""
    await joined(world, 0)
    await joined(world, 1)
    for number in range(2):
        world.spawn(world.submit(TASK, f"job-{number}", None))
    await until_happened(world, "assign")
    leaving, staying = (world.peers[0], world.peers[1])
    order = [call.verb for call in world.gate._writes.happened]
    assert order == ["assign"]
    for peer in (leaving, staying)[:2]:
        if peer.seat is world.parts.seats.with_key(_first_key(world)):
            leaving = peer
        else:
            staying = peer
    world.leave(leaving)
    call = world.gate.call

    async def failing(verb: str, run: Callable[[], Awaitable[object]]) -> object:
        if verb == "put_back":
            raise StoreUnavailable("disk full")
        return await call(verb, run)

    monkeypatch.setattr(world.gate, "call", failing)
    await breathe()
    await world.gate._answer(world.gate._writes)
    await breathe()
    monkeypatch.undo()
    world.clock.advance(1)
    await world.rest()
    assert staying.seat is not None
    assert staying.seat.held or staying.seat.offers, "the place is neither taken nor offered"


def _first_key(world: World) -> str:
    rows = sorted(world.ledger.rows.values(), key=lambda row: row["rank"])
    return str(next(row["worker_key"] for row in rows if row["worker_key"]))
