"""How the next token is drawn from scores: temperature, then top-k, then top-p, then min-p."""

import math

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

_SEED_MASK = 2**64 - 1
_BLOCK_WIDTH_MAX = 256
_BLOCK_WIDTH_MIN = 8
# Real scores are peaked: the nucleus is nearly always among the first few.
_NUCLEUS_FIRST = 64
_NUCLEUS_GROWTH = 8
_ROUGHNESS = 2e-5  # what single numbers may be wrong by, with room to spare
# Below it the smallest single number would be no temperature any more.
_TEMPERATURE_OF_SINGLES = 1e-3


class Ranked(Struct, frozen=True):
    """The highest scores and their places among all scores, best first; of equals the first."""

    places: Ids
    scores: Scores

    def first(self, count: int) -> "Ranked":
        """The `count` highest of them."""
        return Ranked(self.places[:count], self.scores[:count])


def seeded(seed: int) -> np.random.Generator:
    """The chance of one request; of a negative or large seed the lowest 64 bits count."""
    return np.random.Generator(np.random.PCG64(seed & _SEED_MASK))


def draw(
    scores: Scores,
    chance: np.random.Generator,
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> int:
    """The next token; at temperature 0 the best one, the first of equals."""
    if temperature == 0:
        return int(scores.argmax())
    if 0 < top_k < scores.size:
        best = highest(scores, top_k)
        ranked = Ranked(best, scores[best])
        return draw_ranked(ranked, chance, temperature=temperature, top_p=top_p, min_p=min_p)
    if top_p == 1 and min_p == 0:
        return pick_of_all(scores, temperature, chance.random())
    pool = _pool(scores, temperature, top_p, min_p)
    return int(pool[pick(weights(scores[pool], temperature), chance.random())])


def draw_ranked(
    best: Ranked,
    chance: np.random.Generator,
    *,
    temperature: float,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> int:
    """What `draw` gives with a `top_k` of as many as these."""
    if temperature == 0:
        return int(best.places[0])
    pool = np.arange(best.scores.size)
    if top_p < 1:
        pool = nucleus(best.scores, temperature, top_p)
    pool = _probable(pool, best.scores, temperature, min_p)
    drawn = pool[pick(weights(best.scores[pool], temperature), chance.random())]
    return int(best.places[drawn])


def penalise(scores: Scores, seen: Ids, penalty: float) -> None:
    """Makes every token already seen less likely, in place, as transformers does it."""
    of_seen = scores[seen]
    scores[seen] = np.where(of_seen < 0, of_seen * penalty, of_seen / penalty)


def weights(scores: Scores, temperature: float) -> Weights:
    """The scores' probabilities but for a common factor; the best one weighs 1."""
    shares: Weights = scores.astype(np.float64)
    shares -= shares.max()
    with np.errstate(over="ignore"):  # beyond the smallest number is a weight of zero
        shares /= temperature
    return np.exp(shares, out=shares)


def highest(scores: Scores, count: int) -> Ids:
    """The `count` highest scores' places, best first; of equals the first is better."""
    if count >= scores.size:
        return np.argsort(-scores, kind="stable")
    places = np.flatnonzero(scores >= _at_most_the_last(scores, count))
    return places[np.argsort(-scores[places], kind="stable")[:count]]


def nucleus(scores: Scores, temperature: float, top_p: float) -> Ids:
    """The places of the fewest best scores whose probabilities reach `top_p`; never none."""
    rough = _rough_mass(scores, temperature) * top_p
    best, sums = _reaching(scores, temperature, rough * (1 + _ROUGHNESS))
    count, count_at_most = sums.searchsorted([rough * (1 - _ROUGHNESS), rough * (1 + _ROUGHNESS)])
    if count != count_at_most:
        count = sums.searchsorted(top_p * weights(scores, temperature).sum())
    return best[: count + 1]


def pick(shares: Weights, point: float) -> int:
    """The place that a point of [0, 1) falls on when each place is as wide as its weight."""
    sums = shares.cumsum()
    # Rounding must not carry the point past the last place that has any width.
    reached = min(point * sums[-1], np.nextafter(sums[-1], 0))
    return int(sums.searchsorted(reached, side="right"))


def pick_of_all(scores: Scores, temperature: float, point: float) -> int:
    """What `pick` gives for all scores' weights, but quickly: first a block, then in the block.

    The weights are single numbers here, right to six digits.
    """
    if temperature < _TEMPERATURE_OF_SINGLES:
        return pick(weights(scores, temperature), point)
    shares = _single_weights(scores, temperature)
    sums = _block_sums(shares)
    block = pick(sums, point)
    before = sums[:block].sum()
    within = (point * sums.sum() - before) / sums[block]
    start = block * _BLOCK_WIDTH_MAX
    block_shares = shares[start : start + _BLOCK_WIDTH_MAX].astype(np.float64)
    return start + pick(block_shares, min(max(within, 0.0), 1.0))


def _rough_mass(scores: Scores, temperature: float) -> float:
    """The sum of all weights, right to `_ROUGHNESS`; in single numbers, which is quicker."""
    if temperature < _TEMPERATURE_OF_SINGLES:
        return float(weights(scores, temperature).sum())
    return float(_block_sums(_single_weights(scores, temperature)).sum())


def _reaching(scores: Scores, temperature: float, mass: float) -> tuple[Ids, Weights]:
    """Places of best scores, and the sums of their weights up to each: the last reaches `mass`.

    Where all scores together do not weigh as much, they are all there.
    """
    count = _NUCLEUS_FIRST
    while True:
        best = highest(scores, count)
        sums = weights(scores[best], temperature).cumsum()
        if sums[-1] >= mass or count >= scores.size:
            return best, sums
        count *= _NUCLEUS_GROWTH


def _single_weights(scores: Scores, temperature: float) -> Scores:
    shares: Scores = np.exp((scores - scores.max()) * np.float32(1 / temperature))
    return shares


def _block_sums(shares: Scores) -> Weights:
    starts = np.arange(0, shares.size, _BLOCK_WIDTH_MAX)
    return np.add.reduceat(shares, starts).astype(np.float64)


def _pool(scores: Scores, temperature: float, top_p: float, min_p: float) -> Ids:
    """The tokens that may be drawn; one at least."""
    if top_p < 1:
        pool = nucleus(scores, temperature, top_p)
    else:
        slack = 1e-3  # far more than rounding; what is let in too much goes below
        floor = scores.max() + temperature * (math.log(min_p) - slack)
        pool = np.flatnonzero(scores >= floor)
    return _probable(pool, scores, temperature, min_p)


def _probable(pool: Ids, scores: Scores, temperature: float, min_p: float) -> Ids:
    """Those of the pool, which has the best one, that are `min_p` times as likely as that."""
    if min_p == 0:
        return pool
    return pool[weights(scores[pool], temperature) >= min_p]  # the best one weighs 1


def _at_most_the_last(scores: Scores, count: int) -> np.float32:
    """A score that `count` scores reach, and not many more."""
    width = min(scores.size // (2 * count), _BLOCK_WIDTH_MAX)
    if width < _BLOCK_WIDTH_MIN:
        return _nth_highest(scores, count)
    # Each of the `count` best blocks holds one score at least as high as the last of their maxima.
    blocks = scores.size // width
    maxima: Scores = scores[: blocks * width].reshape(blocks, width).max(axis=1)
    return _nth_highest(maxima, count)


def _nth_highest(scores: Scores, count: int) -> np.float32:
    place = scores.size - count
    last: np.float32 = np.partition(scores, place)[place]
    return last
