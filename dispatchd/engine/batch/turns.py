"""One turn after the other: admit, read some of the prompts, decode one token of each sequence."""

from collections import deque
from collections.abc import Callable
from time import monotonic

from dispatchd.engine.batch.pool import Pool
from dispatchd.engine.batch.prefix import Prefixes
from dispatchd.engine.batch.schedule import CHUNK_TOKENS, chunk_end, next_reader
from dispatchd.engine.batch.seating import Seating
from dispatchd.engine.batch.sequence import Sequence
from dispatchd.engine.batch.stepper import Stepper
from dispatchd.engine.observer import UNOBSERVED, EngineObserver
from dispatchd.engine.sampling import Ranked, Scores


class Turns:
    """All sequences, and the steps that move them on; for one thread."""

    def __init__(
        self,
        stepper: Stepper,
        pool: Pool,
        now_seconds: Callable[[], float] = monotonic,
        observer: EngineObserver = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self._stepper = stepper
        self._now_seconds = now_seconds
        self._pool = pool
        self._seat_all()
        self._waiting: deque[Sequence] = deque()
        self._chunks_read = 0

    def add(self, sequence: Sequence) -> None:
        """The sequence gets a slot when there is one, in the order of arrival."""
        self._waiting.append(sequence)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self._seating.all)

    def turn(self) -> None:
        """Moves every sequence on by a token, or nearer to its first one."""
        self._sweep()
        self._admit()
        self._read_prompts()
        self._decode()

    def fail(self, error: Exception) -> None:
        """Ends every sequence with that error, and forgets what the slots held."""
        for sequence in [*self._seating.all, *self._waiting]:
            sequence.fail(error)
        self._waiting.clear()
        self._seat_all()

    def _seat_all(self) -> None:
        self._prefixes = Prefixes(
            slots=self._pool.slots, tokens=self._pool.tokens, chunk=CHUNK_TOKENS
        )
        self._seating = Seating(self._pool, self._prefixes)

    def _sweep(self) -> None:
        """Frees the slots of those that are over or no longer wanted."""
        self._seating.drop([each for each in self._seating.all if each.unwanted()])
        self._waiting = deque(each for each in self._waiting if not each.unwanted())

    def _admit(self) -> None:
        while self._waiting and not self._seating.full:
            self._seating.admit(self._waiting.popleft())

    def _read_prompts(self) -> None:
        started, spent = self._now_seconds(), 0.0
        while (reader := self._next_reader(spent)) is not None:
            self._read(reader)
            self._sweep()
            if not self._seating.decoding:
                return  # nobody waits for the next token: see first what has arrived
            spent = self._now_seconds() - started

    def _next_reader(self, seconds_spent: float) -> Sequence | None:
        reading = self._seating.reading
        place = next_reader([each.unread for each in reading], self._chunks_read, seconds_spent)
        return None if place is None else reading[place]

    def _read(self, reader: Sequence) -> None:
        self._seating.borrow(reader)
        start, end = reader.length, chunk_end(reader.length, len(reader.prompt))
        ids = reader.prompt[start:end]
        self._stepper.read(reader.slot, ids, start)
        self._chunks_read += 1
        self._prefixes.learn(reader.slot, start, ids)
        reader.length = end
        if not reader.unread:
            _advance(reader, self._stepper.follows(reader.depth))
            if not reader.over:
                self._seating.promote(reader)

    def _decode(self) -> None:
        rows = self._seating.decoding
        if not rows:
            return
        scores = self._stepper.decode(
            [row.last for row in rows], [row.length for row in rows], [row.depth for row in rows]
        )
        for row, its_scores in zip(rows, scores, strict=True):
            row.length += 1
            _advance(row, its_scores)
        self._seating.drop([row for row in rows if row.over])
        self._observer.stepped(len(scores))


def _advance(sequence: Sequence, scores: Scores | Ranked) -> None:
    try:
        sequence.take(scores)
    except Exception as error:  # noqa: BLE001 # one text that breaks must not end those beside it
        sequence.fail(error)
