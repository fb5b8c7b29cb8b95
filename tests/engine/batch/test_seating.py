"""Slots after any history hold what their sequences read, and know only what they hold."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatchd.engine.batch.device import DevicePool
from dispatchd.engine.batch.graphs import copies
from dispatchd.engine.batch.host import HostPool
from dispatchd.engine.batch.pool import CacheShape, Pool
from dispatchd.engine.batch.prefix import Prefixes
from dispatchd.engine.batch.seating import Seating
from dispatchd.engine.batch.sequence import Sequence
from dispatchd.engine.session import open_graph
from tests.support.memory import view

CHUNK, SLOTS, TOKENS = 4, 4, 32
SHAPE = CacheShape(layers=1, kv_heads=2, head_size=1, dtype="float32")


def host() -> Pool:
    return HostPool(SHAPE, slots=SLOTS, tokens=TOKENS)


def device() -> Pool:
    session = open_graph(copies(1, SHAPE.dtype), "cpu")
    return DevicePool(session, SHAPE, slots=SLOTS, tokens=TOKENS)


POOLS = pytest.mark.parametrize("pool", [host, device])


class Words(Sequence):
    """A sequence that is only its prompt; it may be over at any time."""

    def __init__(self, prompt: list[int]) -> None:
        self.prompt = np.array(prompt, dtype=np.int64)
        self.slot, self.length, self.over = -1, 0, False
        self.made: list[int] = []

    @property
    def tokens(self) -> list[int]:
        return [*self.prompt.tolist(), *self.made]


class House:
    """A pool whose keys are the tokens themselves, so that a mix-up shows."""

    def __init__(self, pool: Callable[[], Pool] = host) -> None:
        self.pool = pool()
        self.prefixes = Prefixes(slots=SLOTS, tokens=TOKENS, chunk=CHUNK)
        self.seating = Seating(self.pool, self.prefixes)
        self.chunks = 0

    def write(self, slot: int, start: int, ids: list[int]) -> None:
        for tensor in self.pool.rows(slot, 1):
            view(tensor)[0, :, start : start + len(ids), 0] = ids

    def read(self, sequence: Words) -> None:
        self.seating.borrow(sequence)
        start = sequence.length
        ids = sequence.prompt[start : start + CHUNK]
        self.write(sequence.slot, start, ids.tolist())
        self.prefixes.learn(sequence.slot, start, ids)
        self.chunks += 1
        sequence.length += len(ids)
        if not sequence.unread:
            self.seating.promote(sequence)

    def decode(self) -> None:
        for sequence in self.seating.decoding:
            assert isinstance(sequence, Words)
            sequence.made.append(100 + sequence.length)
            self.write(sequence.slot, sequence.length, sequence.made[-1:])
            sequence.length += 1

    def check(self) -> None:
        decoding = self.seating.decoding
        assert [sequence.slot for sequence in decoding] == list(range(len(decoding)))
        slots = [sequence.slot for sequence in self.seating.all]
        assert len(set(slots)) == len(slots)
        for sequence in self.seating.all:
            assert isinstance(sequence, Words)
            self.holds(sequence.slot, sequence.tokens[: sequence.length])
        for slot in range(SLOTS):
            known = self.prefixes.known(slot)
            assert known % CHUNK == 0
            self.holds(slot, self.prefixes._ids[slot, :known].tolist())

    def holds(self, slot: int, ids: list[int]) -> None:
        for tensor in self.pool.rows(slot, 1):
            assert view(tensor)[0, :, : len(ids), 0].tolist() == [ids, ids]


PROMPTS = st.builds(
    lambda beginning, rest: beginning[: len(beginning)] + rest,
    st.sampled_from([[], [1] * 4, [1] * 8, [1] * 4 + [2] * 8]),
    st.lists(st.integers(1, 3), min_size=1, max_size=9),
)
MOVES = st.lists(
    st.one_of(
        PROMPTS.map(lambda prompt: ("add", prompt)),
        st.integers(0, 9).map(lambda place: ("read", place)),
        st.just(("decode", 0)),
        st.sets(st.integers(0, SLOTS - 1), min_size=1).map(lambda gone: ("drop", gone)),
    ),
    max_size=60,
)


@POOLS
@settings(max_examples=200, deadline=None)
@given(moves=MOVES)
def test_any_history_leaves_each_sequence_its_own_cache(
    pool: Callable[[], Pool], moves: list[tuple[str, object]]
) -> None:
    house = House(pool)
    for move, what in moves:
        seating = house.seating
        if move == "add" and not seating.full:
            assert isinstance(what, list)
            seating.admit(Words(what))
        elif move == "read" and seating.reading:
            assert isinstance(what, int)
            reader = seating.reading[what % len(seating.reading)]
            assert isinstance(reader, Words)
            house.read(reader)
        elif move == "decode" and all(one.length < TOKENS for one in seating.decoding):
            house.decode()
        elif move == "drop":
            assert isinstance(what, set)
            seating.drop([one for n, one in enumerate(seating.all) if n in what])
        house.check()


def test_prompts_that_begin_alike_are_read_once() -> None:
    house = House()
    beginning = list(range(16))
    for last in range(3):
        sequence = Words([*beginning, 50 + last, 60])
        house.seating.admit(sequence)
        while sequence.unread:
            house.read(sequence)
    assert house.chunks == 5 + 1 + 1
    house.check()


def test_what_a_finished_sequence_left_is_still_of_use() -> None:
    house = House()
    first, second = Words([*range(8), 9, 9]), Words([*range(8), 10, 9])
    for sequence in (first, second):
        house.seating.admit(sequence)
        while sequence.unread:
            house.read(sequence)
        house.seating.drop([sequence])
    assert house.chunks == 3 + 1


def test_the_last_token_is_read_even_if_all_of_a_prompt_is_known() -> None:
    house = House()
    for _ in range(2):
        sequence = Words(list(range(8)))
        house.seating.admit(sequence)
        assert sequence.unread >= CHUNK
        while sequence.unread:
            house.read(sequence)
    assert house.chunks == 2 + 1
