"""Keys are proven to one coordinator, and what that is worth at the others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace
from nacl.signing import SigningKey

from dispatchd.coordinator.seated import SeatedWorker
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.clock import Clock
from dispatchd.core.job import JobType
from dispatchd.core.keys import KeyPair
from dispatchd.core.limits import Limits
from dispatchd.core.standing import Grade
from tests.support.clock import FakeClock
from tests.support.cluster import PATIENCE_SECONDS, Member, member
from tests.support.executors import Instant, Scripted
from tests.support.foreign import foreign_worker
from tests.support.keyholders import OURS, posing_as
from tests.support.ours import our_worker
from tests.support.postgres import Server

DONE: dict[str, object] = {"summary": "x", "word_count": 1}
LIMITS = Limits(proof_wait_seconds=PATIENCE_SECONDS, lease_seconds=2)
Pair = tuple[Member, Member]


@pytest.fixture
def store(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
async def both(tmp_path: Path, store: str) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        members = []
        for name in "ab":
            (tmp_path / name).mkdir()
            members.append(await stack.enter_async_context(member(tmp_path / name, store, LIMITS)))
        yield members[0], members[1]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


async def pair(asked: Member, pubkey: str) -> None:
    code = (await asked.ask("POST", "/v1/trust/create", {"user_id": "ann"}))["pairing_code"]
    claim = {"pairing_code": code, "provider_pubkey": pubkey}
    await asked.ask("POST", "/v1/trust/claim", claim)


async def script_has(asked: Member, script: Scripted) -> None:
    """A job that one takes runs elsewhere."""
    await asked.knows(workers=1)
    await asked.commit()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await script.started.wait()


async def test_a_pairing_at_one_has_the_key_proven_at_another(both: Pair) -> None:
    """The commit waits for the canary's outcome, which what else happens leaves alone."""
    first, second = both
    script = Scripted()
    async with (
        our_worker(second.url, {JobType.TASK: script}),
        foreign_worker(second.http, second.url) as worker,
    ):
        await script_has(first, script)
        await worker.register("TASK")
        await first.knows(workers=2)
        await pair(first, worker.pubkey)
        await until(lambda: any(each.proving for each in first.parts.seats.elsewhere))
        commit = asyncio.create_task(first.commit(privacy_class="PRIVATE"))
        (running,) = second.parts.seats.under_way
        await first.ask("DELETE", f"/v1/jobs/{running}")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await script.stopped.wait()  # so the second has looked at what its workers hold
        await worker.pass_canary()
        assigned = await worker.expect("job_assign")
        assert (assigned["job_id"], assigned["privacy_class"]) == (await commit, "PRIVATE")
        await worker.complete(assigned["job_id"])
        assert (await first.ended(assigned["job_id"]))["status"] == "completed"


async def test_a_name_alone_takes_nobodys_place_at_another_coordinator(both: Pair) -> None:
    first, second = both
    async with our_worker(second.url, {JobType.TASK: Instant(DONE)}) as key:
        await until(lambda: any(each.proven for each in first.parts.seats.elsewhere))
        await pair(first, key.public_hex)
        seat = second.parts.seats.with_key(key.public_hex)
        async with foreign_worker(first.http, first.url) as thief:
            await posing_as(key.public_hex, thief).register("LLM_INFER")
            await second.knows(workers=1)
            assert second.parts.seats.with_key(key.public_hex) is seat
            job = await second.ended(await second.commit(privacy_class="PRIVATE"))
            assert job["status"] == "completed"


async def test_whoever_proves_the_key_elsewhere_takes_the_place(both: Pair) -> None:
    first, second = both
    async with foreign_worker(second.http, second.url) as former:
        await former.prove(await former.register("TASK", **OURS))
        await until(lambda: any(each.proven for each in first.parts.seats.elsewhere))
        async with foreign_worker(first.http, first.url, former.key) as newer:
            await newer.prove(await newer.register("TASK", **OURS))
            await former.closed()
            await first.knows(workers=0)
            assert first.parts.seats.with_key(newer.pubkey) is not None


def own_worker(of: Member, key: KeyPair, clock: Clock) -> SeatedWorker:
    slots = (Slots(frozenset({JobType.TASK}), 1),)
    card = WorkerCard(
        provider_pubkey=key.public_hex, provider_type=ProviderType.DESKTOP, slots=slots
    )
    return SeatedWorker(of.parts.admission, of.parts.work, lambda: card, clock, LIMITS)


async def test_what_a_worker_learns_of_itself_is_known_elsewhere(
    both: Pair, clock: FakeClock
) -> None:
    """A node's own worker knows its device only once its model is open."""
    first, second = both
    slots = (Slots(frozenset({JobType.TASK}), 1),)
    key = KeyPair.generate()
    card = WorkerCard(
        provider_pubkey=key.public_hex, provider_type=ProviderType.DESKTOP, slots=slots
    )
    source = SeatedWorker(first.parts.admission, first.parts.work, lambda: card, clock, LIMITS)
    running = asyncio.create_task(source.run())
    await second.knows(workers=1)
    told = first.parts.seats.version
    card = replace(card, device="cuda")
    claiming = asyncio.create_task(source.claim(frozenset({JobType.TASK})))
    await until(lambda: [each.card.device for each in second.parts.seats.elsewhere] == ["cuda"])
    assert first.parts.seats.version > told  # and not only when that is told again anyway
    for task in (running, claiming):
        task.cancel()
    await asyncio.gather(running, claiming, return_exceptions=True)


async def test_of_two_nodes_with_a_copied_key_one_has_its_own_worker(
    both: Pair, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The second one says so and waits; nobody's place is taken, and no node ends."""
    first, second = both
    signing = SigningKey.generate()
    key = KeyPair(signing)
    former = asyncio.create_task(own_worker(first, key, clock).run())
    await second.knows(workers=1)
    later = asyncio.create_task(own_worker(second, key, clock).run())
    await until(lambda: "works under its key" in caplog.text)
    async with foreign_worker(second.http, second.url, signing) as worker:
        await worker.prove(await worker.register("TASK", **OURS))
        await until(lambda: any(each.proven for each in first.parts.seats.elsewhere))
        seat = first.parts.seats.with_key(key.public_hex)
        assert seat is not None
        assert not seat.left.is_set()
    await until(lambda: second.parts.seats.with_key(key.public_hex) is None)
    former.cancel()
    await asyncio.gather(former, return_exceptions=True)
    await second.knows(workers=0)
    clock.advance(5)
    await until(lambda: second.parts.seats.with_key(key.public_hex) is not None)
    later.cancel()
    await asyncio.gather(later, return_exceptions=True)
    assert caplog.text.count("works under its key") == 1


@pytest.mark.parametrize("proves", [True, False])
async def test_a_lease_that_ran_out_goes_into_the_record_whoever_finds_it(
    both: Pair, *, proves: bool
) -> None:
    first, second = both
    async with foreign_worker(second.http, second.url) as worker:
        ack = await worker.register("TASK", **OURS)
        seat = second.parts.seats.with_key(worker.pubkey)
        assert seat is not None
        if proves:
            await worker.prove(ack)
        await first.knows(workers=1)
        await until(lambda: [each.proven for each in first.parts.seats.elsewhere] == [proves])
        job_id = await first.commit()
        await worker.expect("job_assign")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await first.parts.coordinator.get(job_id)).faults == 0:
                await first.parts.sweep.once()
                await asyncio.sleep(0.05)
        known = await first.parts.coordinator.overview.known_workers("", 9)
        assert sum(each.standing.record.lost for each in known) == int(proves)
        # And its own coordinator hears of it, which had no part in that.
        await until(lambda: seat.grade is (Grade.FAIR if proves else Grade.GOOD))
