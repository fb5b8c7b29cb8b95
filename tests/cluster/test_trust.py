"""What is read of users' trust may be old by the time that it arrives."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from dispatchd.api.relay import HttpRelay
from dispatchd.coordination import Coordination
from dispatchd.coordinator.chain import coordinator_key_file, open_chain
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.job import JobType
from dispatchd.core.limits import Limits
from dispatchd.store.postgres.store import open_postgres
from tests.support.clock import FakeClock
from tests.support.postgres import Server

SLOTS = (Slots(frozenset({JobType.TASK}), 1),)
CARD = WorkerCard(provider_pubkey="01" * 32, provider_type=ProviderType.DESKTOP, slots=SLOTS)


@pytest.fixture
def store(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
async def here(tmp_path: Path, store: str, clock: FakeClock) -> AsyncIterator[Coordination]:
    """A coordinator of which nothing runs by itself."""
    database = tmp_path / "jobs.sqlite3"
    key = coordinator_key_file(database).load_or_create()
    async with open_postgres(store, key.public_hex) as opened, aiohttp.ClientSession() as session:
        chain = await open_chain(opened.chain, database)
        yield Coordination.over(opened, chain, clock, Limits(), relay=HttpRelay(session))


async def look(
    here: Coordination,
    monkeypatch: pytest.MonkeyPatch,
    found: set[str],
    meanwhile: Callable[[], Awaitable[None]],
) -> None:
    """Looks at who is trusted; finds these users, and something happens before they arrive."""
    assert here.neighbours is not None

    async def read(worker_keys: Sequence[str]) -> dict[str, set[str]]:
        await meanwhile()
        return {key: set(found) for key in worker_keys}

    monkeypatch.setattr(here.neighbours.cluster, "users_of_all", read)
    await here.neighbours.prepare()


async def test_nobody_counts_on_a_worker_that_left_meanwhile(
    here: Coordination, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat = await here.admission.join(CARD)

    async def leave() -> None:
        await here.admission.leave(seat)

    await look(here, monkeypatch, {"ann"}, leave)
    assert here.seats.trusted_by("ann") == []


async def test_whom_users_trusted_meanwhile_they_trust(
    here: Coordination, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat = await here.admission.join(CARD)

    async def trust() -> None:
        here.seats.trust(seat, "ann")

    await look(here, monkeypatch, set(), trust)
    assert here.seats.trusted_by("ann") == [seat]
