"""How often something may happen, and how many wrong pairing codes that makes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.coordinator.allowance import _NAMES_MAX, Allowance
from dispatchd.coordinator.chain import open_chain
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.guesses import Guesses
from dispatchd.core.errors import PairingRefused, TooMany
from dispatchd.core.limits import Limits
from dispatchd.node import Coordination
from dispatchd.store.sqlite.store import open_sqlite
from tests.support.clock import START, FakeClock

KEY = "ab" * 32


@given(
    st.integers(1, 5),
    st.integers(1, 10),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4000)), max_size=40),
)
def test_never_more_than_so_many_in_any_such_span(
    count: int, seconds: int, tries: list[tuple[str, int]]
) -> None:
    allowance = Allowance(count, seconds)
    now = START
    happened: dict[str, list[int]] = {"a": [], "b": []}
    for name, pause in tries:
        now += pause
        wait = allowance.seconds_until_free(name, now)
        recent = [at for at in happened[name] if at > now - seconds * 1000]
        assert (wait == 0) is (len(recent) < count)
        if wait == 0:
            allowance.note(name, now)
            happened[name].append(now)
        else:
            free_at = now + round(wait * 1000)
            assert allowance.seconds_until_free(name, free_at - 1) > 0
            assert min(recent) + seconds * 1000 == free_at


def test_the_oldest_names_are_forgotten_and_the_others_are_not() -> None:
    allowance = Allowance(1, 60)
    allowance.note("first", START)
    for number in range(_NAMES_MAX - 1):
        allowance.note(str(number), START)
    assert allowance.seconds_until_free("first", START) == 60
    allowance.note("one more", START)
    assert allowance.seconds_until_free("first", START) == 0
    assert allowance.seconds_until_free("0", START) == 60
    assert len(allowance._events) == _NAMES_MAX


def test_an_allowance_of_none_allows_none() -> None:
    allowance = Allowance(0, 60)
    assert allowance.seconds_until_free("name", START) > 0
    allowance.note("name", START)
    assert allowance.seconds_until_free("name", START) > 0


def test_guesses_are_counted_for_each_address_and_for_all() -> None:
    guesses = Guesses(Limits(wrong_codes_per_address_max=3, wrong_codes_max=5))
    for _ in range(3):
        guesses.begin("::1", START)
    with pytest.raises(TooMany) as refused:
        guesses.begin("::1", START + 20_000)
    assert refused.value.retry_seconds == 40
    for _ in range(2):
        guesses.begin("::2", START + 30_000)
    with pytest.raises(TooMany) as refused:
        guesses.begin("::3", START + 30_000)
    assert refused.value.retry_seconds == 30
    guesses.begin("::1", START + 60_000)


def test_a_right_code_does_not_count() -> None:
    guesses = Guesses(Limits(wrong_codes_per_address_max=1, wrong_codes_max=1))
    for _ in range(3):
        guesses.begin("::1", START)
        guesses.was_right("::1")


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
