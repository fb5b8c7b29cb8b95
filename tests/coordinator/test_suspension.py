"""A worker whose record is bad: what it still gets, what waits for it, and when that ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatchd.coordinator.intake import Order
from dispatchd.core.job import Fault, JobStatus, JobType, Privacy, Tier
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame
from dispatchd.core.standing import Grade
from tests.coordinator.steps import finish
from tests.coordinator.world import Peer, World

TASK = Order(JobType.TASK, Tier.CHEAP, Privacy.PUBLIC, "ann", "{}")
PRIVATE = Order(JobType.TASK, Tier.CHEAP, Privacy.PRIVATE, "ann", "{}")
LIE = Fault("invalid_receipt", Blame.BAD_RECEIPTS)
FINAL = Fault("cannot", Blame.FAILED, final=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, Limits())
    await world.start()
    await world.rest()
    yield world
    await world.kill(flushed=False)
    world.ledger.close()


async def joined(world: World, number: int = 0, **fields: int) -> Peer:
    peer = world.peers[number]
    peer.places = fields.get("places", 1)
    world.spawn(world.join(peer, mentions=False))
    await world.rest()
    return peer


async def commit(world: World, *job_ids: str, order: Order = TASK) -> None:
    for job_id in job_ids:
        world.spawn(world.submit(order, job_id, None))
    await world.rest()


async def fail(world: World, peer: Peer, job_id: str, fault: Fault = LIE) -> None:
    assert peer.seat is not None
    world.spawn(world.fail(peer.seat, peer.running.pop(job_id), fault))
    await world.rest()
    world.claim(peer)
    await world.rest()


async def suspend(world: World, peer: Peer, *job_ids: str) -> None:
    """Lies about two jobs, which the worker has."""
    for job_id in job_ids or ("lie-1", "lie-2"):
        if job_id not in peer.running:
            await commit(world, job_id)
        await fail(world, peer, job_id)
    assert peer.seat is not None
    assert peer.seat.suspended


def status(world: World, job_id: str) -> str:
    return str(world.ledger.rows[job_id]["status"])


async def test_who_is_suspended_gets_no_job_until_its_time_is_over(world: World) -> None:
    peer = await joined(world)
    await suspend(world, peer)
    await commit(world, "job")
    await world.pass_time(59, hop=1, alive=True)
    assert (peer.running, status(world, "job")) == ({}, JobStatus.PENDING)
    await world.pass_time(1, hop=1, alive=True)
    assert peer.running


async def test_it_keeps_what_it_has(world: World) -> None:
    peer = await joined(world, places=3)
    await commit(world, "kept", "lie-1")
    await fail(world, peer, "lie-1")
    await suspend(world, peer, "lie-2")
    assert set(peer.running) == {"kept"}
    await finish(world, peer, "kept")
    assert status(world, "kept") == JobStatus.COMPLETED
    assert not peer.running


async def test_jobs_wait_for_the_only_worker_while_it_is_suspended(world: World) -> None:
    world.spawn(world.pair("ann", world.peers[0]))
    await world.rest()
    peer = await joined(world)
    await suspend(world, peer)
    await commit(world, "public")
    await commit(world, "private", order=PRIVATE)
    await world.pass_time(45, hop=1, alive=True)
    assert {status(world, one) for one in ("public", "private")} == {JobStatus.PENDING}


async def test_a_job_goes_to_somebody_else_meanwhile(world: World) -> None:
    liar = await joined(world)
    await suspend(world, liar)
    other = await joined(world, 1, places=3)
    await commit(world, "job")
    assert set(other.running) == {"lie-1", "lie-2", "job"}


async def test_nobody_waits_for_a_suspended_worker_with_what_another_turned_down(
    world: World,
) -> None:
    liar = await joined(world)
    await suspend(world, liar)
    other = await joined(world, 1, places=4)
    await commit(world, "again", "never")
    await fail(world, other, "again", Fault("boom", Blame.FAILED))
    await fail(world, other, "never", FINAL)
    assert (status(world, "never"), status(world, "again")) == (
        JobStatus.FAILED,
        JobStatus.PENDING,
    )
    await world.pass_time(5, hop=1, alive=True)
    assert "again" in other.running


async def test_a_lost_connection_counts_once_however_much_it_carried(world: World) -> None:
    peer = await joined(world, places=16)
    await commit(world, *(f"job-{number}" for number in range(16)))
    assert len(peer.running) == 16
    world.clock.advance(1)
    world.leave(peer)
    await world.rest()
    again = await joined(world, places=16)
    assert again.seat is not None
    assert again.seat.standing.record.lost == 16
    assert again.seat.standing.strikes.strikes == 1
    assert len(again.running) == 16


async def test_another_connection_changes_nothing(world: World) -> None:
    peer = await joined(world)
    await suspend(world, peer)
    for _ in range(3):
        await joined(world)
        assert peer.seat is not None
        assert peer.seat.suspended
    await commit(world, "job")
    assert not peer.running


async def test_another_process_changes_nothing(world: World) -> None:
    peer = await joined(world)
    await suspend(world, peer)
    await world.kill(flushed=False)
    await world.start()
    await world.rest()
    await joined(world)
    await commit(world, "job")
    assert not peer.running
    await world.pass_time(60, hop=1, alive=True)
    assert peer.running


async def test_the_nodes_own_worker_is_never_suspended(world: World) -> None:
    """Its jobs would have nobody else, and its owner is the coordinator's."""
    peer = world.peers[0]
    joining = world.spawn(_join_locally(world, peer))
    await world.rest()
    assert joining.done()
    for number in range(6):
        world.claim(peer)
        await commit(world, f"job-{number}")
        await fail(world, peer, f"job-{number}", LIE)
    assert peer.seat is not None
    assert peer.seat.standing.strikes.strikes == 10
    assert peer.seat.grade is Grade.POOR
    assert peer.running or peer.claims
    await commit(world, "last")
    assert peer.running


async def _join_locally(world: World, peer: Peer) -> None:
    peer.seat = await world.parts.admission.join(peer.card, local=True)


@pytest.mark.parametrize("private", [False, True])
async def test_of_two_idle_workers_the_better_record_goes_before_the_turn(
    world: World, private: bool
) -> None:
    order = PRIVATE if private else TASK
    for peer in world.peers[:2]:
        world.spawn(world.pair("ann", peer))
    await world.rest()
    first, other = await joined(world), await joined(world, 1)
    await commit(world, "first", order=order)
    assert (set(first.running), set(other.running)) == ({"first"}, set())
    await fail(world, first, "first")
    await finish(world, other, "first")
    assert grade_of(first) is Grade.POOR
    await commit(world, "second", order=order)
    assert (set(first.running), set(other.running)) == (set(), {"second"})


async def test_what_stands_against_an_idle_worker_is_forgotten_in_time(world: World) -> None:
    peer = await joined(world)
    await commit(world, "lie-1")
    await fail(world, peer, "lie-1")
    assert grade_of(peer) is Grade.POOR
    await world.pass_time(3600, hop=20, alive=True)
    assert grade_of(peer) is Grade.GOOD


async def test_a_completion_counts_as_soon_as_it_is_stored(world: World) -> None:
    peer = await joined(world)
    await commit(world, "lie")
    await fail(world, peer, "lie")
    await world.pass_time(6, hop=2, alive=True)
    await finish(world, peer, "lie")
    assert grade_of(peer) is Grade.FAIR
    for number in range(4):
        assert grade_of(peer) is Grade.FAIR
        await commit(world, f"done-{number}")
        await finish(world, peer, f"done-{number}")
    assert grade_of(peer) is Grade.GOOD


def grade_of(peer: Peer) -> Grade:
    assert peer.seat is not None
    return peer.seat.grade
