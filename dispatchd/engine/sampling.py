"""How the next token is drawn from scores: temperature, then top-k, then top-p, then min-p."""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

_SEED_MASK = 2**64 - 1
_BLOCK_WIDTH_MAX = 256
_BLOCK_WIDTH_MIN = 8
# Real scores are peaked: the nucleus is nearly always among the first few.
_NUCLEUS_FIRST = 64
_NUCLEUS_GROWTH = 8


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
    pool = highest(scores, top_k) if 0 < top_k < scores.size else np.arange(scores.size)
    if top_p < 1:
        pool = pool[nucleus(scores[pool], temperature, top_p)]
    if min_p > 0:
        pool = pool[weights(scores[pool], temperature) >= min_p]  # the best one weighs 1
    return int(pool[pick(weights(scores[pool], temperature), chance.random())])


def penalise(scores: Scores, seen: Ids, penalty: float) -> None:
    """Makes every token already seen less likely, in place, as transformers does it."""
    of_seen = scores[seen]
    scores[seen] = np.where(of_seen < 0, of_seen * penalty, of_seen / penalty)


def weights(scores: Scores, temperature: float) -> Weights:
    """The scores' probabilities but for a common factor; the best one weighs 1."""
    above = scores.astype(np.float64) - scores.max()
    with np.errstate(over="ignore"):  # beyond the smallest number is a weight of zero
        shares: Weights = np.exp(above / temperature)
    return shares


def highest(scores: Scores, count: int) -> Ids:
    """The `count` highest scores' places, best first; of equals the first is better."""
    if count >= scores.size:
        return np.argsort(-scores, kind="stable")
    places = np.flatnonzero(scores >= _at_most_the_last(scores, count))
    return places[np.argsort(-scores[places], kind="stable")[:count]]


def nucleus(scores: Scores, temperature: float, top_p: float) -> Ids:
    """The places of the fewest best scores whose probabilities reach `top_p`; never none."""
    shares = weights(scores, temperature)
    mass = top_p * shares.sum()
    count = _NUCLEUS_FIRST
    while True:
        best = highest(scores, count)
        sums = shares[best].cumsum()
        if sums[-1] >= mass or count >= scores.size:
            return best[: sums.searchsorted(mass) + 1]
        count *= _NUCLEUS_GROWTH


def pick(shares: Weights, point: float) -> int:
    """The place that a point of [0, 1) falls on when each place is as wide as its weight."""
    sums = shares.cumsum()
    # Rounding must not carry the point past the last place that has any width.
    reached = min(point * sums[-1], np.nextafter(sums[-1], 0))
    return int(sums.searchsorted(reached, side="right"))


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
