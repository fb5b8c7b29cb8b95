"""Caches and scores on the graph's own device: what is copied back is a few numbers a row."""

from collections.abc import Sequence

import numpy as np

from dispatchd.engine.batch.graphs import copies, ranking
from dispatchd.engine.batch.pool import CacheShape, Ids
from dispatchd.engine.sampling import Ranked, Scores
from dispatchd.engine.session import Binding, Memory, Region, Session, open_graph


class DevicePool:
    """`Pool` of a tensor a layer for keys and one for values, [slots + 1, kv_heads, tokens, …].

    The last slot is for exchanges. Slots are copied whole, by a graph of copies: a slot lies in
    one piece, and a device copies that quicker than it is told of pieces.
    """

    def __init__(self, session: Session, shape: CacheShape, *, slots: int, tokens: int) -> None:
        self.slots = slots
        self.tokens = tokens
        extent = (slots + 1, shape.kv_heads, tokens, shape.head_size)
        self._tensors = [session.zeros(extent, shape.dtype) for _ in range(shape.layers * 2)]
        self._copies = open_graph(copies(len(self._tensors), shape.dtype), session.device).bind()

    def rows(self, first: int, count: int) -> list[Memory]:
        """For each layer its key, then its value."""
        return [tensor.part(first, count) for tensor in self._tensors]

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Copies the whole slot, where there is anything to copy."""
        if start >= end:
            return
        for number, tensor in enumerate(self._tensors):
            self._copies.read(f"from.{number}", tensor.part(source, 1))
            self._copies.write(f"to.{number}", tensor.part(target, 1))
        self._copies.run()

    def swap(self, one: int, other: int, end: int) -> None:
        """Exchanges the whole slots."""
        spare = self.slots
        for source, target in ((one, spare), (other, one), (spare, other)):
            self.copy(source, target, 0, end)


class DeviceReadout:
    """`Readout` that ranks scores where they are; a row is fetched only if all of it is wanted."""

    def __init__(self, session: Session, *, slots: int, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._scores = session.zeros((slots, vocab_size), np.float32)
        self._fetched: Scores = np.zeros((slots, vocab_size), dtype=np.float32)
        self._fetch = open_graph(copies(1, "float32"), session.device).bind()
        self._ranking = open_graph(ranking(), session.device)
        self._rankings: dict[tuple[int, int], _Ranking] = {}

    def place(self, count: int) -> Memory:
        """The first rows of a tensor on the device."""
        return self._scores.part(0, count)

    def read(self, depths: Sequence[int]) -> Sequence[Scores | Ranked]:
        """Ranks all rows at once, as deep as the deepest of them needs."""
        depths = [depth if depth < self._vocab_size else 0 for depth in depths]
        ranked = self._rank(len(depths), max(depths)) if any(depths) else []
        return [
            ranked[row].first(depth) if depth else self._whole(row)
            for row, depth in enumerate(depths)
        ]

    def _rank(self, rows: int, depth: int) -> Sequence[Ranked]:
        # Few different depths: each has a binding of its own for each number of rows.
        count = min(1 << (depth - 1).bit_length(), self._vocab_size)
        if (rows, count) not in self._rankings:
            scores = self._scores.part(0, rows)
            self._rankings[rows, count] = _Ranking(self._ranking.bind(), scores, count)
        return self._rankings[rows, count].run()

    def _whole(self, row: int) -> Scores:
        fetched = self._fetched[row : row + 1]
        self._fetch.read("from.0", self._scores.part(row, 1))
        self._fetch.write("to.0", fetched)
        self._fetch.run()
        whole: Scores = fetched[0]
        return whole


class _Ranking:
    """The `count` highest scores of some rows; only those come to this machine's side."""

    def __init__(self, binding: Binding, scores: Region, count: int) -> None:
        rows = scores.shape[0]
        self._binding = binding
        self._best: Scores = np.zeros((rows, count), dtype=np.float32)
        self._places: Ids = np.zeros((rows, count), dtype=np.int64)
        binding.read("scores", scores)
        binding.read("count", np.array([count], dtype=np.int64))
        binding.write("best", self._best)
        binding.write("places", self._places)

    def run(self) -> Sequence[Ranked]:
        self._binding.run()
        return [Ranked(*row) for row in zip(self._places, self._best, strict=True)]
