"""What a coordinator has signed of its chain is found by the others, and leads to its root."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from dispatchd.coordinator.sealing import Sealing
from dispatchd.core.chain import sign_entry, sign_root
from dispatchd.core.keys import KeyPair
from dispatchd.core.merkle import root_by_path
from dispatchd.store import SealStore
from dispatchd.store.postgres.store import open_postgres
from dispatchd.store.sql.store import SqlStore
from tests.store.test_conformance import DONE, leased
from tests.support.clock import FakeClock
from tests.support.postgres import Server

SIGNER, OTHER = KeyPair.generate(), KeyPair.generate()
Pair = tuple[SqlStore, SqlStore]


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
async def pair(url: str) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(open_postgres(url, key.public_hex))
            for key in (SIGNER, OTHER)
        ]
        yield first, second


async def complete(store: SqlStore, *numbers: int) -> None:
    for number in numbers:
        await store.jobs.finish(await leased(store, number), DONE, at=number)


async def sealed_so_far(seals: SealStore, limit: int) -> int:
    """Signs some of the first's entries; how many that were."""
    entries, root = await seals.unsealed(limit)
    if entries:
        signatures = [sign_entry(SIGNER, entry) for entry in entries]
        await seals.seal(entries, signatures, sign_root(SIGNER, root))
    return len(entries)


async def test_whatever_is_under_a_signed_root_has_a_path_to_it(pair: Pair) -> None:
    first, second = pair
    assert first.seals is not None
    assert second.seals is not None
    await complete(second, 90, 91)
    await complete(first, *range(13))
    assert await second.seals.sealed("job-0") is None
    sizes = ((1, 1), (4, 5), (5, 10), (0, 10), (9, 13), (9, 13))
    for turn, (limit, size) in enumerate(sizes):
        await sealed_so_far(first.seals, limit)
        await complete(second, 100 + turn)
        for number in range(13):
            sealed = await second.seals.sealed(f"job-{number}")
            assert (sealed is not None) is (number < size)
            if sealed is None:
                continue
            entry, path = sealed.place.entry, list(map(bytes.fromhex, sealed.place.path))
            assert SIGNER.public_hex == sealed.root.coordinator_key
            assert (entry.sequence, sealed.root.size) == (number + 1, size)
            assert sealed.root.is_of(SIGNER.public_hex)
            root = root_by_path(entry.leaf, number, size, path)
            assert root is not None
            assert root.hex() == sealed.root.root
    assert await first.seals.sealed("job-90") is None
    assert await second.chain.place_of("job-90") is not None  # whose chain it is, is as before
    assert await second.chain.place_of("job-0") is None


async def test_signing_at_stop_may_meet_the_signing_of_every_few_seconds(pair: Pair) -> None:
    first, second = pair
    assert first.seals is not None
    assert second.seals is not None
    await complete(first, 1, 2)
    sealing = Sealing(first.seals, SIGNER, FakeClock())
    await asyncio.gather(sealing.catch_up(), sealing.catch_up())
    assert await second.seals.sealed("job-2") is not None
