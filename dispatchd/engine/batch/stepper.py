"""Runs a prepared graph over slots of a pool; all its memory is bound once and used in place."""

from collections.abc import Sequence

import numpy as np

from dispatchd.core.errors import Unusable
from dispatchd.engine.batch.pool import CacheShape, Ids, Pool
from dispatchd.engine.batch.readout import Readout
from dispatchd.engine.sampling import Ranked, Scores
from dispatchd.engine.session import Binding, Session

_KEY = "past_key_values.{}.key"
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_CACHE_AXES = 4  # sequences, kv_heads, tokens, head_size


class Stepper:
    """The graph over one pool; for one thread."""

    def __init__(self, session: Session, pool: Pool, readout: Readout, *, chunk: int) -> None:
        self._session = session
        self._pool = pool
        self._readout = readout
        self._last_ids = np.zeros((pool.slots, 1), dtype=np.int64)
        self._chunk_ids = np.zeros(chunk, dtype=np.int64)
        self._last_places = np.zeros(pool.slots, dtype=np.int32)
        self._total = np.zeros((), dtype=np.int32)
        self._decoding: dict[int, Binding] = {}
        self._reading: dict[int, Binding] = {}

    def decode(
        self, ids: Sequence[int], lengths: Sequence[int], depths: Sequence[int]
    ) -> Sequence[Scores | Ranked]:
        """Appends a token to each of the sequences in the first slots; the scores of what follows.

        `lengths` counts the tokens that are in the caches already, and `depths` says how many of
        the highest scores are wanted, 0 for all, [vocab]; as many are given, or all. They are the
        caller's to change, until the next step.
        """
        count = len(ids)
        self._last_ids[:count, 0] = ids
        self._last_places[:count] = lengths
        self._total[...] = max(lengths) + 1
        if count not in self._decoding:
            self._decoding[count] = self._bind(0, count)
            self._decoding[count].read("input_ids", self._last_ids[:count])
        self._decoding[count].run()
        return self._readout.read(depths)

    def read(self, slot: int, ids: Ids, start: int) -> None:
        """Appends a chunk of a prompt to the sequence of that slot."""
        size = len(ids)
        self._chunk_ids[:size] = ids
        self._last_places[0] = start + size - 1
        self._total[...] = start + size
        if slot not in self._reading:
            self._reading[slot] = self._bind(slot, 1)
        self._reading[slot].read("input_ids", self._chunk_ids[None, :size])
        self._reading[slot].run()

    def follows(self, depth: int) -> Scores | Ranked:
        """The scores of what follows the chunk that was just read, as `decode` gives them."""
        return self._readout.read([depth])[0]

    def _bind(self, first: int, count: int) -> Binding:
        binding = self._session.bind()
        binding.read("seqlens_k", self._last_places[:count])
        binding.read("total_sequence_length", self._total)
        binding.write("logits", self._readout.place(count))
        for number, cache in enumerate(self._pool.rows(first, count)):
            part = f"{number // 2}.{'value' if number % 2 else 'key'}"
            binding.read(f"past_key_values.{part}", cache)
            binding.write(f"present.{part}", cache)
        return binding


def cache_shape(session: Session) -> CacheShape:
    """What the graph's inputs say of its caches; Unusable where it is not a prepared graph."""
    layers = 0
    while _KEY.format(layers) in session.inputs:
        layers += 1
    wanted = {"input_ids", "seqlens_k", "total_sequence_length"}
    if not layers or wanted - session.inputs.keys():
        raise Unusable("the graph was not made by `dispatchd models prepare`: prepare it again.")
    port = session.inputs[_KEY.format(0)]
    heads, size = (port.shape[1], port.shape[3]) if len(port.shape) == _CACHE_AXES else (None, None)
    if port.type not in _DTYPES or not isinstance(heads, int) or not isinstance(size, int):
        raise Unusable("the graph's caches have no fixed size: prepare the model again.")
    return CacheShape(layers, heads, size, _DTYPES[port.type])
