"""How many wrong pairing codes are allowed, from one address and from everywhere."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatchd.coordination import Coordination
from dispatchd.coordinator.chain import open_chain
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.core.errors import PairingRefused, TooMany
from dispatchd.core.limits import Limits
from dispatchd.store.sqlite.store import open_sqlite
from tests.support.clock import FakeClock

KEY = "ab" * 32


@pytest.fixture
async def coordinator(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Coordinator]:
    async with open_sqlite(tmp_path / "jobs.sqlite3") as store:
        chain = await open_chain(store.chain, tmp_path / "jobs.sqlite3")
        yield Coordination.over(store, chain, clock, Limits()).coordinator


async def outcome(coordinator: Coordinator, code: str, address: str) -> str:
    try:
        await coordinator.claim_code(code, KEY, address)
    except PairingRefused:
        return "wrong"
    except TooMany:
        return "too many"
    return "paired"


async def test_after_twenty_wrong_codes_an_address_must_wait(
    coordinator: Coordinator, clock: FakeClock
) -> None:
    good = await coordinator.create_code("ann")
    for _ in range(20):
        assert await outcome(coordinator, "XXXXXX", "::1") == "wrong"
    assert await outcome(coordinator, good.code, "::1") == "too many"
    clock.advance(59.9)
    assert await outcome(coordinator, good.code, "::1") == "too many"
    clock.advance(0.1)
    assert await outcome(coordinator, good.code, "::1") == "paired"


async def test_another_address_may_still_claim_until_all_have_guessed_too_often(
    coordinator: Coordinator,
) -> None:
    codes = [await coordinator.create_code("ann") for _ in range(2)]
    for number in range(199):
        assert await outcome(coordinator, "XXXXXX", f"::{number // 20}") == "wrong"
    assert await outcome(coordinator, codes[0].code, "::ffff") == "paired"
    assert await outcome(coordinator, "XXXXXX", "::ffff") == "wrong"
    assert await outcome(coordinator, codes[1].code, "::fffe") == "too many"


async def test_guesses_at_the_same_instant_are_counted_too(coordinator: Coordinator) -> None:
    answers = await asyncio.gather(
        *(outcome(coordinator, f"{number:06X}", "::1") for number in range(100))
    )
    assert answers.count("wrong") == 20
    assert answers.count("too many") == 80


async def test_guesses_from_everywhere_at_the_same_instant_are_counted_too(
    coordinator: Coordinator,
) -> None:
    answers = await asyncio.gather(
        *(outcome(coordinator, f"{number:06X}", f"::{number}") for number in range(300))
    )
    assert answers.count("wrong") == 200
