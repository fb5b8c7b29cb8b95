"""How often something may happen is counted in the store."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dispatchd.core.errors import PairingRefused, TooMany
from dispatchd.core.rate import Counted, Rate
from dispatchd.core.trust import PairingCode
from dispatchd.store.sql.migrations import migrations_in
from dispatchd.store.sql.rates import note, refuse_too_many
from dispatchd.store.sql.store import SqlStore
from dispatchd.store.sqlite.connection import Database
from tests.store.test_conformance import KEY
from tests.support.clock import START

TABLE = migrations_in("dispatchd.store.sqlite")[7]
RATE = Rate(name="guess", per_address_max=3, in_all_max=5, seconds=60, refusal="Too many")


def pause(db: Database, counted: Counted, now: int) -> float:
    """How long it takes until another is allowed."""
    try:
        refuse_too_many(db, counted, now)
    except TooMany as refused:
        return refused.retry_seconds or 0
    return 0


@given(
    st.integers(0, 5),
    st.none() | st.integers(0, 7),
    st.integers(1, 10),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4000)), max_size=40),
)
def test_never_more_than_so_many_in_any_such_span(
    each: int, in_all: int | None, seconds: int, tries: list[tuple[str, int]]
) -> None:
    rate = replace(RATE, per_address_max=each, in_all_max=in_all, seconds=seconds)
    happened: list[tuple[str, int]] = []
    now = START
    with closing(sqlite3.connect(":memory:", factory=Database)) as db:
        db.executescript(TABLE)
        for address, passed in tries:
            now += passed
            recent = [(who, at) for who, at in happened if at > now - seconds * 1000]
            allowed = sum(who == address for who, _ in recent) < each
            allowed = allowed and (in_all is None or len(recent) < in_all)
            counted = Counted(rate, address)
            wait = pause(db, counted, now)
            assert (wait == 0) is allowed
            if allowed:
                note(db, counted, now)
                happened.append((address, now))
            elif each and in_all != 0:
                free_at = now + round(wait * 1000)
                assert pause(db, counted, free_at - 1) > 0
                assert pause(db, counted, free_at) == 0
        (kept,) = db.execute("SELECT count(*) FROM rate_events").fetchone()
        assert kept <= len(happened)


async def guess(store: SqlStore, address: str, now: int, code: str = "FFFFFF") -> str:
    """What comes of a code."""
    try:
        await store.trust.claim_code(code, KEY, now, Counted(RATE, address))
    except PairingRefused:
        return "wrong"
    except TooMany as refused:
        return f"wait {refused.retry_seconds:g}"
    return "paired"


async def test_wrong_codes_are_counted_for_each_address_and_for_all(store: SqlStore) -> None:
    assert [await guess(store, "::1", START) for _ in range(3)] == ["wrong"] * 3
    assert await guess(store, "::1", START + 20_000) == "wait 40"
    assert [await guess(store, "::2", START + 30_000) for _ in range(2)] == ["wrong"] * 2
    assert await guess(store, "::3", START + 30_000) == "wait 30"
    assert await guess(store, "::1", START + 60_000) == "wrong"


async def test_a_right_code_is_not_counted_and_must_wait_like_any(store: SqlStore) -> None:
    for number in range(9):
        await store.trust.add_code(PairingCode(f"A0000{number}", "ann", START + 9999), START)
    for number in range(8):
        assert await guess(store, "::1", START, f"A0000{number}") == "paired"
    for _ in range(3):
        await guess(store, "::1", START)
    assert await guess(store, "::1", START, "A00008") == "wait 60"
    assert await guess(store, "::2", START, "A00008") == "paired"


async def test_of_keys_only_first_ones_are_counted(store: SqlStore) -> None:
    counted = Counted(replace(RATE, name="new", in_all_max=None), "::1")
    first, other = bytes(32), bytes(31) + b"1"
    for number in range(3):
        digest = bytes(31) + bytes([number + 10])
        assert await store.users.put_key(f"u{number}", digest, None, START, counted)
    with pytest.raises(TooMany):
        await store.users.put_key("ann", first, None, START, counted)
    assert await store.users.put_key("u0", other, bytes(31) + bytes([10]), START, counted)
    assert not await store.users.put_key("u1", first, None, START + 60_000, counted)
    for number in range(3):  # what was not stored did not count
        digest = bytes(30) + bytes([1, number])
        assert await store.users.put_key(f"v{number}", digest, None, START + 60_000, counted)
    assert "ann" not in await store.users.all()
