"""Who is offered a job, and how little is done to find that out."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dispatchd.coordinator.bench import Bench
from dispatchd.coordinator.intake import Order
from dispatchd.coordinator.matching import JOBS_PER_LANE_MAX
from dispatchd.coordinator.seats import Offer, Seat, Seats
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.job import ENDED, Fault, Job, JobStatus, JobType, Privacy, Tier
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame
from tests.coordinator.steps import finish
from tests.coordinator.world import ALL_TYPES, Peer, World, key_number

TASK = Order(JobType.TASK, Tier.CHEAP, Privacy.PUBLIC, "ann", "{}")
PRIVATE = Order(JobType.TASK, Tier.CHEAP, Privacy.PRIVATE, "ann", "{}")
REJECTED = Fault("boom", Blame.REJECTED)

KEYS = itertools.count()


def seat(kind: ProviderType, heard_at: int = 0, users: tuple[str, ...] = ()) -> Seat:
    card = WorkerCard(
        provider_pubkey=f"{next(KEYS):064x}",
        provider_type=kind,
        slots=(Slots(ALL_TYPES, 1),),
    )
    made = Seat(card, heard_at, {}, local=False)
    made.users.update(users)
    made.proven = True
    return made


def job(job_type: JobType, tier: Tier, **fields: Any) -> Job:
    values: dict[str, Any] = {"privacy": Privacy.PUBLIC, "user_id": "ann", "payload": "{}"}
    return Job(id="job", job_type=job_type, tier=tier, created_at=0, rank=0, **(values | fields))


async def bench_of(*seats: Seat) -> Bench:
    """A bench with one offer from each seat, in that order."""
    everybody = Seats()
    bench = Bench(everybody)
    for each in seats:
        everybody.add(each)
        bench.add(Offer(each, ALL_TYPES))
    return bench


def pick(bench: Bench, wanted: Job) -> Seat | None:
    """Who is given the job, all of whose heartbeats after moment 0 are recent."""
    offer = bench.best(wanted, lambda _: True, 1)
    if offer is None:
        return None
    bench.take(offer)
    return offer.seat


@pytest.mark.parametrize(
    ("job_type", "tier", "kind"),
    [
        (JobType.TASK, Tier.FAST, ProviderType.DESKTOP),
        (JobType.LLM_INFER, Tier.FAST, ProviderType.DESKTOP),
        (JobType.TASK, Tier.CHEAP, ProviderType.SEEKER),
    ],
)
@pytest.mark.parametrize("privacy", Privacy)
async def test_the_kind_of_machine_goes_before_the_turn(
    job_type: JobType, tier: Tier, kind: ProviderType, privacy: Privacy
) -> None:
    wanted = job(job_type, tier, privacy=privacy)
    others = [seat(other, 9, ("ann",)) for other in ProviderType if other is not kind]
    suited = seat(kind, heard_at=1, users=("ann",))
    suited.turn_taken = 7
    bench = await bench_of(*others, suited)
    assert [pick(bench, wanted) for _ in range(3)] == [suited, *others, None]


@pytest.mark.parametrize("privacy", Privacy)
async def test_equals_take_turns(privacy: Privacy) -> None:
    seats = [seat(ProviderType.DESKTOP, moment, ("ann",)) for moment in (1, 2, 3)]
    bench = await bench_of(*seats)
    for _ in range(2):
        for each in seats:
            bench.add(Offer(each, ALL_TYPES))
    wanted = job(JobType.LLM_INFER, Tier.CHEAP, privacy=privacy)
    assert [pick(bench, wanted) for _ in range(9)] == seats * 3


@pytest.mark.parametrize("privacy", Privacy)
async def test_a_silent_worker_comes_last(privacy: Privacy) -> None:
    silent, alive = (seat(ProviderType.DESKTOP, moment, ("ann",)) for moment in (0, 1))
    bench = await bench_of(silent, alive)
    wanted = job(JobType.TASK, Tier.FAST, privacy=privacy)
    assert [pick(bench, wanted) for _ in range(2)] == [alive, silent]


async def test_many_silent_workers_are_not_looked_through() -> None:
    silent = [seat(ProviderType.DESKTOP, 0) for _ in range(2000)]
    looked_at = 0

    def accept(_: Seat) -> bool:
        nonlocal looked_at
        looked_at += 1
        return True

    bench = await bench_of(*silent)
    assert bench.best(job(JobType.TASK, Tier.FAST), accept, 1) is not None
    assert looked_at < 100


async def test_kinds_of_workers_that_have_gone_are_forgotten() -> None:
    """Whoever connects says what models it has, so that there is no end of kinds."""
    bench = await bench_of()
    for number in range(3):
        one = seat(ProviderType.DESKTOP)
        one.card = replace(one.card, models=(f"model-{number}",))
        for _ in range(2):
            bench.add(Offer(one, ALL_TYPES))
        for offer in list(one.offers):
            bench.remove(offer)
    assert not bench._groups


async def test_cheap_inference_has_no_favourite_kind() -> None:
    wanted = job(JobType.LLM_INFER, Tier.CHEAP)
    seats = [seat(kind, 1) for kind in ProviderType]
    bench = await bench_of(*seats)
    assert {pick(bench, wanted) for _ in seats} == set(seats)


async def test_two_thousand_idle_workers_are_not_looked_at() -> None:
    kinds = itertools.cycle(ProviderType)
    seats = [seat(next(kinds), moment) for moment in range(2000)]
    seats.append(seat(ProviderType.DESKTOP, 2000, ("ann",)))
    bench = await bench_of(*seats)
    looked_at: list[Seat] = []

    def accept(candidate: Seat) -> bool:
        looked_at.append(candidate)
        return True

    for tier in Tier:
        assert bench.best(job(JobType.TASK, tier), accept, 0) is not None
    assert len(looked_at) <= 4
    looked_at.clear()
    found = bench.best(job(JobType.TASK, Tier.FAST, privacy=Privacy.PRIVATE), accept, 0)
    assert found is not None
    assert looked_at == [found.seat] == seats[-1:]
    looked_at.clear()
    refusing = seats[0]
    offer = bench.best(job(JobType.TASK, Tier.FAST), lambda one: accept(one) and one != refusing, 0)
    assert offer is not None
    assert offer.seat is not refusing
    assert len(looked_at) <= 3


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, Limits())
    await world.start()
    await world.rest()
    yield world
    await world.kill(flushed=False)
    world.ledger.close()


async def joined(world: World, peer: Peer) -> None:
    if peer not in world.peers:
        world.peers.append(peer)
    world.spawn(world.join(peer, mentions=False))
    await world.rest()


async def commit(world: World, order: Order, *job_ids: str) -> None:
    for job_id in job_ids:
        world.spawn(world.submit(order, job_id, None))
    await world.rest()


async def finish_all(world: World, peer: Peer) -> None:
    """Does jobs for as long as some are given."""
    while peer.running:
        for job_id in list(peer.running):
            await finish(world, peer, job_id)


def statuses(world: World) -> set[str]:
    return {row["status"] for row in world.ledger.rows.values()}


async def test_matching_asks_the_store_only_when_something_has_changed(world: World) -> None:
    for number in range(20, 60):
        await joined(world, Peer(key_number(number)))
    world.gate.calls.clear()
    for _ in range(14):
        world.clock.advance(1)
        for each in world.parts.seats:
            world.parts.work.heard(each)
        await world.rest()
    assert not world.gate.calls
    world.clock.advance(1)
    await world.rest()
    assert world.gate.calls == {"waiting_lanes": 1}
    world.gate.calls.clear()
    await commit(world, TASK, "job")
    assert world.gate.calls == {"add": 1}
    (busy,) = (peer for peer in world.peers if peer.running)
    world.gate.calls.clear()
    await finish(world, busy, "job")
    assert world.gate.calls == {"finish": 1}


async def test_a_job_that_nobody_can_take_now_is_not_looked_for(world: World) -> None:
    inferring = Peer(key_number(20), frozenset({JobType.LLM_INFER}))
    await joined(world, inferring)
    world.gate.calls.clear()
    await commit(world, TASK, *(f"job-{number}" for number in range(30)))
    assert world.gate.calls == {"add": 30}


async def test_a_full_private_lane_delays_nobody_else(world: World) -> None:
    trusted, public = world.peers[:2]
    trusted.places = 0
    world.spawn(world.pair("ann", trusted))
    await joined(world, trusted)
    await commit(world, PRIVATE, *(f"private-{number}" for number in range(500)))
    world.leave(trusted)
    await world.rest()
    await joined(world, public)
    world.gate.calls.clear()
    for number in range(20):
        await commit(world, TASK, f"public-{number}")
        assert list(public.running) == [f"public-{number}"]
        await finish(world, public, f"public-{number}")
    assert world.gate.calls["waiting"] <= 40
    waiting = [row for row in world.ledger.rows.values() if row["status"] == JobStatus.PENDING]
    assert len(waiting) == 500


async def test_a_full_public_lane_delays_no_private_job(world: World) -> None:
    public, trusted = world.peers[:2]
    public.job_types = trusted.job_types = frozenset({JobType.TASK})
    await joined(world, public)
    await commit(world, TASK, *(f"public-{number}" for number in range(200)))
    world.spawn(world.pair("ann", trusted))
    trusted.places = 0
    await joined(world, trusted)
    world.clock.advance(1)
    await commit(world, PRIVATE, "private")
    world.clock.advance(120)  # the public ones may well be of lower rank, but not for ever
    for _ in range(250):
        trusted.places = 1
        world.claim(trusted)
        await world.rest()
        (job_id,) = trusted.running
        if job_id == "private":
            break
        await finish(world, trusted, job_id)
    assert "private" in trusted.running


async def test_jobs_refused_beyond_the_look_ahead_are_all_done_in_the_end(world: World) -> None:
    worker = world.peers[0]
    worker.places = 4
    await joined(world, worker)
    count = JOBS_PER_LANE_MAX + 40
    await commit(world, TASK, *(f"job-{number}" for number in range(count)))
    while worker.running:
        await refuse(world, worker, *worker.running)
    assert {row["faults"] for row in world.ledger.rows.values()} == {1}
    for _ in range(8):
        await world.pass_time(1, hop=1, alive=True)
        await finish_all(world, worker)
    assert statuses(world) == {JobStatus.COMPLETED}


async def test_a_refused_job_behind_many_that_another_refused_is_done_in_the_end(
    world: World,
) -> None:
    """The worker that could take the last job is idle; it is done at the latest by the other."""
    first, second = world.peers[:2]
    await joined(world, first)
    count = JOBS_PER_LANE_MAX + 6
    await commit(world, TASK, *(f"job-{number}" for number in range(count)))
    while first.running:
        await refuse(world, first, *first.running)
    world.leave(first)
    await joined(world, second)
    await refuse(world, second, *second.running)
    await joined(world, first)
    for _ in range(12):
        await world.pass_time(1, hop=1, alive=True)
        await finish_all(world, first)
        await finish_all(world, second)
    ended = [row for row in world.ledger.rows.values() if row["status"] in ENDED]
    assert len(ended) == count
    assert statuses(world) == {JobStatus.COMPLETED}


async def refuse(world: World, peer: Peer, *job_ids: str) -> None:
    assert peer.seat is not None
    for job_id in job_ids:
        world.spawn(world.fail(peer.seat, peer.running.pop(job_id), REJECTED))
    await world.rest()
    world.claim(peer)
    await world.rest()


async def test_a_refused_job_comes_back_after_five_seconds_and_not_before(world: World) -> None:
    worker = world.peers[0]
    await joined(world, worker)
    await commit(world, TASK, "job")
    await refuse(world, worker, "job")
    await world.pass_time(4, hop=1, alive=True)
    assert not worker.running
    await world.pass_time(1, hop=1, alive=True)
    assert list(worker.running) == ["job"]


async def test_a_refused_job_goes_to_another_worker_at_once(world: World) -> None:
    first, second = world.peers[:2]
    await joined(world, first)
    await commit(world, TASK, "job")
    await joined(world, second)
    await refuse(world, first, "job")
    assert list(second.running) == ["job"]


async def test_two_places_of_one_worker_take_two_jobs(world: World) -> None:
    worker = world.peers[0]
    worker.places = 2
    await joined(world, worker)
    await commit(world, TASK, "a", "b", "c")
    assert set(worker.running) == {"a", "b"}
    await finish(world, worker, "b")
    assert set(worker.running) == {"a", "c"}
    assert worker.seat is not None
    assert not worker.seat.offers


async def test_places_for_different_types_are_not_mixed_up(world: World) -> None:
    worker = world.peers[0]
    worker.places = 0
    await joined(world, worker)
    assert worker.seat is not None
    for kind in JobType:
        claiming = world.parts.work.claim(worker.seat, frozenset({kind}))
        world.spawn(_forget(claiming))
    await commit(world, TASK, "a", "b")
    assert set(worker.seat.held) == {"a"}
    inference = Order(JobType.LLM_INFER, Tier.CHEAP, Privacy.PUBLIC, "ann", "{}")
    await commit(world, inference, "c")
    assert set(worker.seat.held) == {"a", "c"}


async def _forget(claiming: Any) -> None:
    await claiming
