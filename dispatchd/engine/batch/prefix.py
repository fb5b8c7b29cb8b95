"""What each slot knows of which prompt, so that prompts that begin alike are read once."""

import numpy as np

from dispatchd.engine.batch.pool import Ids


class Prefixes:
    """For each slot, the prompt tokens whose keys and values it holds, in whole chunks.

    Only whole chunks that were read as prompts count: read again in another company they would
    give the same bits, which is not promised for tokens that were generated one by one.
    """

    def __init__(self, *, slots: int, tokens: int, chunk: int) -> None:
        self._chunk = chunk
        self._ids = np.zeros((slots, tokens), dtype=np.int64)
        self._known = np.zeros(slots, dtype=np.int64)

    def known(self, slot: int) -> int:
        """How many tokens the slot knows."""
        return int(self._known[slot])

    def learn(self, slot: int, start: int, ids: Ids) -> None:
        """The slot has read these tokens at `start`, as a chunk of a prompt."""
        if len(ids) < self._chunk:
            return
        self._ids[slot, start : start + len(ids)] = ids
        self._known[slot] = start + len(ids)

    def forget(self, slot: int, left: int = 0) -> None:
        """From here on the slot knows no more than `left` tokens."""
        self._known[slot] = min(left, self.known(slot))

    def move(self, source: int, target: int) -> None:
        """The target slot has become a copy of the source slot."""
        known = self.known(source)
        self._ids[target, :known] = self._ids[source, :known]
        self._known[target] = known

    def swap(self, one: int, other: int) -> None:
        """The slots have been exchanged."""
        self._ids[[one, other]] = self._ids[[other, one]]
        self._known[[one, other]] = self._known[[other, one]]

    def shared(self, prompt: Ids) -> list[int]:
        """For each slot, how much of the prompt it knows, in tokens.

        The last token of a prompt is always read, for its scores are wanted, and never alone: see
        `schedule.chunk_end`.
        """
        most = max(0, len(prompt) - 2) // self._chunk * self._chunk
        differ = self._ids[:, :most] != prompt[:most]
        same = np.where(differ.any(axis=1), differ.argmax(axis=1), most) if most else 0
        tokens = np.minimum(same, self._known) // self._chunk * self._chunk
        return [int(count) for count in tokens]
