import math
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dispatchd.engine.sampling import (
    Ranked,
    Scores,
    draw,
    draw_ranked,
    highest,
    nucleus,
    penalise,
    pick,
    pick_of_all,
    seeded,
    weights,
)

# Few distinct scores make many ties; real ones are floats of about this size.
SCORES = st.one_of(
    arrays.arrays(np.float32, st.integers(1, 700), elements=st.integers(-3, 3).map(float)),
    arrays.arrays(np.float32, st.integers(1, 700), elements=st.floats(-60, 60, width=32)),
)
TEMPERATURES = st.floats(0.05, 2)


def naive_order(scores: Scores) -> list[int]:
    return sorted(range(len(scores)), key=lambda place: (-float(scores[place]), place))


def naive_shares(scores: Scores, temperature: float) -> list[float]:
    powers = [math.exp((float(score) - float(scores.max())) / temperature) for score in scores]
    return [power / math.fsum(powers) for power in powers]


def naive_pool(scores: Scores, temperature: float, top_k: int, top_p: float) -> list[int]:
    order = naive_order(scores)[: top_k or None]
    shares = naive_shares(scores[order], temperature)
    reached = (kept for kept, sum_ in enumerate(accumulate(shares), 1) if sum_ >= top_p)
    return order[: next(reached, len(order))]


def random_scores(size: int, spread: float) -> Scores:
    return np.random.default_rng(size).normal(0, spread, size).astype(np.float32)


@given(SCORES, st.integers(1, 800))
def test_the_highest_are_those_of_a_full_sort(scores: Scores, count: int) -> None:
    assert highest(scores, count).tolist() == naive_order(scores)[:count]


@pytest.mark.parametrize("count", [1, 5, 50, 97, 3000, 49_151])
@pytest.mark.parametrize("size", [49_152, 50_257])
def test_the_highest_of_a_whole_vocabulary(size: int, count: int) -> None:
    for scores in (random_scores(size, 5), np.round(random_scores(size, 2))):
        assert highest(scores, count).tolist() == naive_order(scores)[:count]


def test_scores_of_minus_infinity_are_the_last_choice() -> None:
    scores = np.full(1000, -np.inf, dtype=np.float32)
    scores[[700, 3]] = [1, 2]
    assert highest(scores, 3).tolist() == [3, 700, 0]
    drawn = {draw(scores, seeded(seed), temperature=2.0, top_p=0.999) for seed in range(20)}
    assert drawn == {3, 700}


@given(SCORES, TEMPERATURES, st.floats(1e-6, 0.999999))
def test_the_nucleus_is_the_smallest_that_reaches(
    scores: Scores, temperature: float, top_p: float
) -> None:
    kept = nucleus(scores, temperature, top_p).tolist()
    order = naive_order(scores)
    shares = naive_shares(scores[order], temperature)
    assert kept == order[: len(kept)]
    assert kept
    assert math.fsum(shares[: len(kept)]) >= top_p - 1e-9
    assert len(kept) == 1 or math.fsum(shares[: len(kept) - 1]) < top_p + 1e-9


@pytest.mark.parametrize(("spread", "size"), [(0.01, 4096), (0.5, 4096), (8, 4096), (0, 700)])
def test_flat_and_peaked_scores_have_the_naive_nucleus(spread: float, size: int) -> None:
    scores = random_scores(size, spread)
    for top_p in (0.1, 0.9, 0.95):
        assert nucleus(scores, 0.8, top_p).tolist() == naive_pool(scores, 0.8, 0, top_p)


def test_whole_steps_are_exact() -> None:
    scores = np.zeros(8, dtype=np.float32)
    assert nucleus(scores, 1.0, 0.5).tolist() == [0, 1, 2, 3]
    assert nucleus(scores, 1.0, 1e-12).tolist() == [0]


@given(SCORES, TEMPERATURES, st.integers(0, 80), st.sampled_from([0.3, 0.77, 0.9, 1.0]))
def test_only_tokens_of_the_naive_pool_are_drawn(
    scores: Scores, temperature: float, top_k: int, top_p: float
) -> None:
    pool = naive_pool(scores, temperature, top_k, top_p + 1e-9)
    chance = seeded(1)
    for _ in range(5):
        token = draw(scores, chance, temperature=temperature, top_k=top_k, top_p=top_p)
        assert token in pool


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    scores: npt.NDArray[np.float32] = np.array([0.5, 2, -1, 1.5, -40], dtype=np.float32)
    chance = seeded(3)
    how = {"temperature": 0.7, "top_k": 3, "top_p": 0.99}
    pool = naive_pool(scores, 0.7, 3, 0.99)
    assert pool == [1, 3, 0]
    expected = dict(zip(pool, naive_shares(scores[pool], 0.7), strict=True))
    drawn = [draw(scores, chance, **how) for _ in range(20_000)]  # type: ignore[arg-type] # mixed
    assert set(drawn) == set(pool)
    for token, share in expected.items():
        assert drawn.count(token) / len(drawn) == pytest.approx(share, abs=0.015)


@given(SCORES, st.integers(-(2**63), 2**64), st.floats(5e-324, 2))
def test_one_choice_is_the_greedy_one(scores: Scores, seed: int, temperature: float) -> None:
    greedy = draw(scores, seeded(seed), temperature=0)
    assert greedy == naive_order(scores)[0]
    assert draw(scores, seeded(seed), temperature=temperature, top_k=1) == greedy
    assert draw(scores, seeded(seed), temperature=temperature, top_p=1e-9) == greedy


def test_a_point_falls_on_a_place_that_has_width() -> None:
    shares = np.array([0.0, 0.3, 0.0, 0.1, 0.0])
    assert [pick(shares, point) for point in (0.0, 0.7, 0.76, 1 - 2**-53)] == [1, 1, 3, 3]
    assert weights(np.array([3, 1], dtype=np.float32), 1e-310).tolist() == [1, 0]


def test_seeds_are_of_64_bits() -> None:
    assert seeded(-1).random() == seeded(2**64 - 1).random() != seeded(0).random()


@given(SCORES, TEMPERATURES, st.floats(0, 1, exclude_max=True))
def test_the_quick_pick_falls_where_the_exact_one_does(
    scores: Scores, temperature: float, point: float
) -> None:
    shares = weights(scores, temperature)
    place = pick_of_all(scores, temperature, point)
    begin = shares[:place].sum() / shares.sum()
    end = shares[: place + 1].sum() / shares.sum()
    assert begin - 1e-5 <= point <= end + 1e-5


@given(SCORES, TEMPERATURES, st.floats(1e-3, 1), st.sampled_from([0, 40]))
def test_min_p_leaves_those_near_the_best(
    scores: Scores, temperature: float, min_p: float, top_k: int
) -> None:
    shares = weights(scores, temperature)
    chance = seeded(1)
    for _ in range(5):
        how = {"temperature": temperature, "top_k": top_k, "top_p": 1.0, "min_p": min_p}
        token = draw(scores, chance, **how)  # type: ignore[arg-type] # mixed
        assert shares[token] >= min_p
    greedy = draw(scores, chance, temperature=temperature, min_p=1.0)
    assert scores[greedy] == scores.max() or shares[greedy] == 1.0


def test_a_token_seen_twice_is_penalised_once() -> None:
    scores = np.array([2.0, -2.0, 1.0], dtype=np.float32)
    penalise(scores, np.array([0, 1, 0, 1]), 2.0)
    assert scores.tolist() == [1.0, -4.0, 1.0]


@given(
    st.integers(2, 700), st.integers(1, 699), st.just(0) | TEMPERATURES, st.sampled_from([1, 0.7])
)
def test_the_highest_alone_draw_the_same(
    size: int, top_k: int, temperature: float, top_p: float
) -> None:
    scores = random_scores(size, 3).round(1)
    best = highest(scores, min(top_k, size - 1))
    ranked = Ranked(best, scores[best])
    for min_p in (0, 0.05):
        how = {"temperature": temperature, "top_p": top_p, "min_p": min_p}
        whole = draw(scores, seeded(top_k), top_k=best.size, **how)
        assert draw_ranked(ranked, seeded(top_k), **how) == whole
