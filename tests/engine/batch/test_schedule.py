from hypothesis import given
from hypothesis import strategies as st

from dispatchd.engine.batch.schedule import (
    CHUNK_TOKENS,
    READ_SECONDS_MAX,
    best_seat,
    chunk_end,
    next_reader,
    pool_tokens,
)


def test_nobody_reads_where_there_is_no_prompt_or_no_time() -> None:
    assert next_reader([], 0, 0.0) is None
    assert next_reader([5], 0, READ_SECONDS_MAX) is None
    assert next_reader([5], 0, 0.0) == 0


def finishing_order(prompts: list[int]) -> list[int]:
    """In which order prompts that are there at once are read to their end."""
    left = dict(enumerate(prompts))
    order, chunks = [], 0
    while left:
        place = next_reader(list(left.values()), chunks, 0.0)
        assert place is not None
        name = list(left)[place]
        left[name] -= CHUNK_TOKENS
        chunks += 1
        if left[name] <= 0:
            order.append(name)
            del left[name]
    return order


def test_a_short_prompt_overtakes_a_long_one() -> None:
    assert finishing_order([5000, 30]) == [1, 0]
    assert finishing_order([5000, 200, 30, 30]) == [2, 3, 1, 0]


def test_a_long_prompt_reads_every_other_chunk_however_many_short_ones_come() -> None:
    reads = [next_reader([5000, 30], chunks, 0.0) for chunks in range(10)]
    assert reads == [0, 1] * 5


@given(st.one_of(st.integers(1, 2000), st.sampled_from([1, 2, 64, 65, 66, 129])))
def test_chunks_lie_at_multiples_of_their_size(prompt: int) -> None:
    expected = [*range(CHUNK_TOKENS, prompt, CHUNK_TOKENS), prompt]
    if prompt % CHUNK_TOKENS == 1 and prompt > 1:
        expected[-2] -= 1  # no token is read alone
    start, ends = 0, []
    while start < prompt:
        start = chunk_end(start, prompt)
        ends.append(start)
    assert ends == expected


def test_the_seat_that_knows_the_prompt_is_best_and_then_the_one_that_knows_least() -> None:
    assert best_seat([1, 2, 3], [128, 0, 64, 0], [128, 0, 64, 0]) == 2
    assert best_seat([1, 2, 3], [0, 0, 0, 0], [64, 64, 0, 0]) == 2


def test_a_pool_is_as_long_as_the_context_or_as_the_memory_allows() -> None:
    how = {"context_tokens": 2048, "token_bytes": 4000}
    assert pool_tokens(**how, bytes_max=10**9) == 2048
    assert pool_tokens(**how, bytes_max=4_000_000) == 1000
