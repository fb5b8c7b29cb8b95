"""Races that were thought of: each spelt out, move by move of the store."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dispatchd.coordinator.intake import Order
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import JobStatus, JobType, Lane, Lease, Privacy, Tier
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


def only_lease(world: World, job_id: str) -> str:
    return str(world.ledger.rows[job_id]["worker_key"])


async def test_a_worker_that_comes_back_during_its_assignment_breaks_nothing(
    world: World,
) -> None:
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await until_happened(world, "add")
    world.spawn(world.join(world.peers[0], mentions=False))
    await read_everything(world)
    await world.rest()
    status, attempt, _ = only_row(world)
    assert (status, attempt) == (JobStatus.ASSIGNED, 2)


async def test_a_worker_does_not_resume_what_it_completes_at_that_moment(world: World) -> None:
    """The result is on its way to the disk when the worker comes back and names the job."""
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await world.rest()
    peer = world.peers[0]
    assert peer.seat is not None
    done = world.result(peer.key, "job")
    world.spawn(world.finish(peer.seat, peer.running["job"], done, good=True))
    await breathe()
    assert world.gate.waiting == ["finish"]
    world.spawn(world.join(peer, mentions=True))
    await breathe()
    reads = world.gate._reads
    while reads.come or reads.happened:
        await (world.gate._answer(reads) if reads.happened else world.gate._let_happen(reads))
        await breathe()
    await world.gate.until_quiet()
    assert only_row(world)[0] == JobStatus.COMPLETED
    assert peer.seat is not None
    assert not peer.seat.held, "the place is taken by a job that has ended"


async def test_an_assignment_in_flight_is_put_back_when_the_node_stops(world: World) -> None:
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await until_happened(world, "add")
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
    """Looking at no job of a lane says nothing about whether jobs wait in it."""
    world.spawn(world.submit(TASK, "job", None))
    await world.rest()
    peer = world.peers[0]
    peer.places = 0
    await joined(world)
    peer.places = 1
    world.clock.advance(30)
    world.claim(peer)
    world.sweep()  # in the same turn as the claim, it dismisses the worker as silent
    await world.rest()
    assert peer.seat is None
    assert only_row(world)[0] == JobStatus.PENDING
    await joined(world, 1)  # where somebody is idle while the job waits, this fails


@pytest.mark.parametrize("taken", [True, False])
async def test_a_cancelling_whose_caller_goes_is_done_to_the_end(world: World, taken: bool) -> None:
    if taken:
        await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await world.rest()
    cancelling = asyncio.create_task(world.parts.coordinator.cancel("job"))
    await until_happened(world, "fail")
    cancelling.cancel()
    await world.rest()  # where the worker still holds what has ended, this fails
    assert only_row(world)[0] == JobStatus.FAILED
    assert world.parts.matching._queued == 0


async def test_a_pairing_made_while_the_worker_joins_counts(world: World) -> None:
    """A worker with `--trust-code` claims the code and registers at the same time."""
    code = asyncio.ensure_future(world.parts.coordinator.create_code("ann"))
    await world.rest()
    peer = world.peers[0]
    joining = world.spawn(world.join(peer, mentions=False))
    await breathe()
    await world.gate._let_happen(world.gate._reads)  # held_by
    await world.gate._answer(world.gate._reads)
    await breathe()
    await world.gate._let_happen(world.gate._writes)  # users_of, which keeps to their order
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


async def until_it_sits(world: World, key: str) -> None:
    """Until a worker has the place of its key, and it is not known yet who trusts it."""
    while "users_of" not in world.gate.waiting:
        assert await world.gate.move(0)
    assert world.parts.seats.with_key(key) is not None


async def test_who_is_replaced_while_it_takes_its_place_counts_for_nobody(world: World) -> None:
    peer = world.peers[0]
    world.spawn(world.pair("ann", peer))
    await world.rest()
    world.spawn(world.join(peer, mentions=False))
    await joined(world)
    world.spawn(world.join(peer, mentions=False))
    await until_it_sits(world, peer.key.public_hex)
    seat = world.parts.seats.with_key(peer.key.public_hex)
    assert seat is not None
    assert seat.proven
    world.spawn(world.parts.admission.leave(seat))
    await world.rest()
    world.spawn(world.submit(PRIVATE, "job", None))
    await world.rest()
    assert only_row(world)[0] == JobStatus.FAILED


async def test_a_worker_that_connects_twice_at_once_keeps_its_jobs(world: World) -> None:
    peer = world.peers[0]
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await world.rest()
    world.spawn(world.join(peer, mentions=True))
    await until_it_sits(world, peer.key.public_hex)
    world.spawn(world.join(peer, mentions=True))
    await breathe()
    await world.gate._let_happen(world.gate._reads)  # held_by
    await world.gate._answer(world.gate._reads)
    await world.rest()
    assert only_row(world)[1:] == (1, 0)
    assert list(peer.running) == ["job"]


async def test_of_a_connection_that_waits_only_the_leases_of_its_key_are_kept(
    world: World,
) -> None:
    """Whoever knows a key may open many, and the jobs may be long."""
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await world.rest()
    joining = asyncio.ensure_future(world.parts.admission.join(world.peers[0].card))
    await world.rest()
    assert (await joining).left_over == {"job": Lease("job", 1)}


async def test_a_pairing_made_as_a_place_goes_is_made(world: World) -> None:
    """The canary that it calls for waits for another place."""
    peer = world.peers[0]
    code = asyncio.ensure_future(world.parts.coordinator.create_code("ann"))
    world.spawn(world.join(peer, mentions=False, prove=False))
    await world.rest()
    await world.pass_time(6, hop=1, alive=True)
    pairing = asyncio.ensure_future(
        world.parts.coordinator.claim_code(code.result().code, peer.key.public_hex, "::1")
    )
    await until_happened(world, "claim_code")
    await world.gate._answer(world.gate._writes)
    for claim in peer.claims:
        claim.cancel()
    await world.rest()
    assert (await pairing).user_id == "ann"


async def test_a_worker_heard_every_29_seconds_keeps_its_lease(world: World) -> None:
    """30 s of silence end a lease; it is renewed by the worker's heartbeat."""
    await world.pass_time(5, hop=1, alive=False)
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


def work_at_once(world: World) -> None:
    """Every worker hands in what it has, well done, and offers itself again."""
    for peer in world.peers:
        for lease in list(peer.running.values()):
            assert peer.seat is not None
            done = world.result(peer.key, lease.job_id)
            world.spawn(world.finish(peer.seat, lease, done, good=True))
            del peer.running[lease.job_id]
        world.claim(peer)


def given_out(world: World) -> int:
    return sum(row["attempt"] for row in world.ledger.rows.values())


async def test_stopping_gives_out_no_more_jobs_though_places_become_free(world: World) -> None:
    for number in range(4):
        await joined(world, number)
    for number in range(60):
        world.spawn(world.submit(TASK, f"job-{number}", None))
    turns = itertools.count()
    while world.ledger.completed_by_record() < 8:
        await world.gate.move(next(turns))
        work_at_once(world)
    world.parts.coordinator.stop()
    world.draining = True
    before = given_out(world)
    while await world.gate.move(next(turns)):
        work_at_once(world)
    after = given_out(world) - before
    assert after <= 4, f"{after} more jobs were given out"  # those that were being assigned


async def test_a_private_job_does_not_wait_while_a_public_lane_is_busy(world: World) -> None:
    """A free place takes the job of the lowest rank, whatever its lane."""
    for number in range(4):
        await joined(world, number)
        world.spawn(world.pair("ann", world.peers[number]))
    await world.rest()
    for number in range(200):
        world.spawn(world.submit(TASK, f"job-{number}", None))
    turns = itertools.count()
    while given_out(world) < 8:
        await world.gate.move(next(turns))
        work_at_once(world)
    world.spawn(world.submit(PRIVATE, "private", None))
    while "private" not in world.acknowledged:
        await world.gate.move(next(turns))
        work_at_once(world)
    before = given_out(world)
    while not world.ledger.rows["private"]["attempt"]:
        await world.gate.move(next(turns))
        work_at_once(world)
    between = given_out(world) - 1 - before
    assert between <= 12, f"{between} public jobs went before a private one of lower rank"


async def test_a_place_is_not_lost_when_the_store_fails_during_delivery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two assignments in one batch; the first worker leaves, and putting its job back fails."""
    for number in range(2):
        world.peers[number].places = 0
        await joined(world, number)
        world.spawn(world.submit(TASK, f"job-{number}", None))
    await world.rest()
    for peer in world.peers[:2]:
        peer.places = 1
        world.claim(peer)
    await until_happened(world, "assign")
    leaving, staying = world.peers[:2]
    if only_lease(world, "job-0") != leaving.key.public_hex:
        leaving, staying = staying, leaving
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


async def test_a_place_that_becomes_free_while_a_job_is_stored_gets_it(world: World) -> None:
    """When the place is offered nothing waits yet, so nobody looks; the job itself finds it."""
    peer = world.peers[0]
    peer.places = 0
    await joined(world)
    world.spawn(world.submit(TASK, "job", None))
    await breathe()
    assert world.gate.waiting == ["add"]
    peer.places = 1
    world.claim(peer)
    await world.rest()
    assert only_row(world)[0] == JobStatus.ASSIGNED


async def test_a_place_kept_for_a_commit_that_fails_goes_to_the_job_that_waits(
    world: World,
) -> None:
    await joined(world)
    refused = asyncio.ensure_future(world.parts.coordinator.submit(TASK, "refused"))
    await breathe()
    adding = world.gate._writes.come.popleft()
    world.spawn(world.submit(TASK, "waiting", None))
    await world.rest()
    assert only_row(world)[0] == JobStatus.PENDING
    adding.answer.set_exception(StoreUnavailable("disk full"))
    with pytest.raises(StoreUnavailable):
        await refused
    await world.rest()
    assert only_row(world)[0] == JobStatus.ASSIGNED
