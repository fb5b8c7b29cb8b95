"""Which sequence has which slot: those that decode lie in the first slots, side by side."""

from collections.abc import Iterable

from dispatchd.engine.batch.pool import Pool
from dispatchd.engine.batch.prefix import Prefixes
from dispatchd.engine.batch.schedule import best_seat
from dispatchd.engine.batch.sequence import Sequence


class Seating:
    """The sequences of a pool; moves their caches so that a decoding step finds them together."""

    def __init__(self, pool: Pool, prefixes: Prefixes) -> None:
        self._pool = pool
        self._prefixes = prefixes
        self.decoding: list[Sequence] = []  # each one's place is its slot
        self.reading: list[Sequence] = []  # in the order of arrival, in any slot behind those

    @property
    def all(self) -> list[Sequence]:
        """Every sequence that has a slot."""
        return [*self.decoding, *self.reading]

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return len(self.decoding) + len(self.reading) >= self._pool.slots

    def admit(self, sequence: Sequence) -> None:
        """Gives the sequence the free slot that knows most of its prompt."""
        taken = {other.slot for other in self.all}
        free = [slot for slot in range(self._pool.slots) if slot not in taken]
        known = [self._prefixes.known(slot) for slot in range(self._pool.slots)]
        shared = self._prefixes.shared(sequence.prompt)
        sequence.slot = best_seat(free, shared, known)
        sequence.length = shared[sequence.slot]
        self._prefixes.forget(sequence.slot, sequence.length)
        self.reading.append(sequence)

    def borrow(self, sequence: Sequence) -> None:
        """Copies what another slot knows of the prompt beyond what the sequence has read."""
        shared = self._prefixes.shared(sequence.prompt)
        source = max(range(len(shared)), key=shared.__getitem__)
        if shared[source] > sequence.length:
            self._pool.copy(source, sequence.slot, sequence.length, shared[source])
            self._prefixes.move(source, sequence.slot)
            self._prefixes.forget(sequence.slot, shared[source])
            sequence.length = shared[source]

    def promote(self, sequence: Sequence) -> None:
        """The sequence has read its prompt: it joins those that decode."""
        self.reading.remove(sequence)
        target = len(self.decoding)
        here = next((other for other in self.reading if other.slot == target), None)
        if here is not None:
            self._pool.swap(sequence.slot, target, max(sequence.length, here.length))
            self._prefixes.swap(sequence.slot, target)
            here.slot = sequence.slot
            sequence.slot = target
        self._move(sequence, target)
        self.decoding.append(sequence)

    def drop(self, gone: Iterable[Sequence]) -> None:
        """Frees the slots of these sequences."""
        # From the last slot on, those that leave together leave no holes to fill.
        for sequence in sorted(gone, key=lambda one: one.slot, reverse=True):
            if sequence in self.reading:
                self.reading.remove(sequence)
                continue
            last = self.decoding.pop()
            if last is not sequence:
                hole = sequence.slot
                self._move(last, hole)
                self.decoding[hole] = last

    def _move(self, sequence: Sequence, target: int) -> None:
        if sequence.slot != target:
            self._pool.copy(sequence.slot, target, 0, sequence.length)
            self._prefixes.move(sequence.slot, target)
            sequence.slot = target
