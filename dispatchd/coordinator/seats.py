"""The workers that are online: what each can do, what it holds, and where it offers itself."""

import asyncio
from collections.abc import Callable, Iterator
from uuid import uuid4

from dispatchd.core.card import WorkerCard
from dispatchd.core.job import Assignment, Job, JobType, Lane, Lease, Millis
from dispatchd.core.standing import Grade, Standing


class Held:
    """A lease that a seat holds. `ended` is set when it no longer does, for whatever reason."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lease = Lease(job.id, job.attempt)
        self.running = False
        self.ended = asyncio.Event()


class Offer:
    """A worker's free place, waiting for a job of one of these types."""

    def __init__(self, seat: "Seat", job_types: frozenset[JobType]) -> None:
        self.seat = seat
        self.job_types = job_types
        self.assignment: asyncio.Future[Assignment] = asyncio.get_running_loop().create_future()

    def suits(self, lane: Lane) -> bool:
        """Whether this place could take jobs of a lane."""
        able = lane.job_type in self.job_types and self.seat.can_do(lane)
        return able and not self.seat.suspended


class Seat:
    """A worker's place at the coordinator for as long as it is connected.

    `left` is set when the seat is no longer valid; whoever serves the worker then lets it go.
    """

    def __init__(
        self, card: WorkerCard, now: Millis, under_way: dict[str, Held], *, local: bool
    ) -> None:
        self.id = str(uuid4())
        self.card = card
        self.users: set[str] = set()
        self.local = local
        self.heard_at = now
        self.held: dict[str, Held] = {}
        self._under_way = under_way
        self.offers: dict[Offer, None] = {}
        self.offered: frozenset[JobType] = frozenset()
        """The job types for which it has had a place; for others it is not ready yet."""
        self.standing = Standing()
        self.grade = Grade.FAIR
        """What its standing was worth when that was last looked at."""
        self.left = asyncio.Event()

    @property
    def suspended(self) -> bool:
        """Whether it gets no job for a time; it counts as busy."""
        return self.grade is Grade.SUSPENDED

    @property
    def key(self) -> str:
        """The worker's public key."""
        return self.card.provider_pubkey

    def can_do(self, lane: Lane) -> bool:
        """Whether jobs of a lane may go to this worker, busy or not."""
        if lane.user_id is not None and lane.user_id not in self.users:
            return False
        return self.card.can_do(lane)

    def holds(self, lease: Lease) -> Held | None:
        """What the seat holds under a lease, or None."""
        held = self.held.get(lease.job_id)
        return held if held is not None and held.lease == lease else None

    def hold(self, job: Job) -> Held:
        """The worker has this job now."""
        held = Held(job)
        self.offered |= {job.job_type}
        self.held[job.id] = held
        self._under_way[job.id] = held
        return held

    def drop(self, held: Held) -> None:
        """Forgets a lease that has ended."""
        job_id = held.lease.job_id
        if self.held.get(job_id) is held:
            del self.held[job_id]
        if self._under_way.get(job_id) is held:
            del self._under_way[job_id]
        held.ended.set()


class Seats:
    """All seats, found by what the scheduler asks for without looking at each."""

    def __init__(self) -> None:
        self.under_way: dict[str, Held] = {}
        """What the seats hold, by job: those jobs have not ended."""
        self._by_key: dict[str, Seat] = {}
        self._by_type: dict[JobType, dict[Seat, None]] = {kind: {} for kind in JobType}
        self._by_user: dict[str, dict[Seat, None]] = {}
        self._last_left: dict[tuple[JobType, str | None], Millis] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Seat]:
        return iter(list(self._by_key.values()))

    def with_key(self, key: str) -> Seat | None:
        """The seat of the worker with that key."""
        return self._by_key.get(key)

    def add(self, seat: Seat) -> None:
        """A worker has come; nobody else may sit there with its key."""
        self._by_key[seat.key] = seat
        for kind in seat.card.capabilities:
            self._by_type[kind][seat] = None
        for user_id in seat.users:
            self.trust(seat, user_id)

    def remove(self, seat: Seat, now: Millis) -> None:
        """A worker has gone."""
        if self._by_key.get(seat.key) is seat:
            del self._by_key[seat.key]
        for kind in seat.card.capabilities:
            self._by_type[kind].pop(seat, None)
            self._last_left[kind, None] = now
            self._last_left.update({(kind, user_id): now for user_id in seat.users})
        for user_id in seat.users:
            self._distrust(user_id, seat)

    def trust(self, seat: Seat, user_id: str) -> None:
        """A user has been paired with the worker."""
        seat.users.add(user_id)
        self._by_user.setdefault(user_id, {})[seat] = None

    def distrust(self, seat: Seat, user_id: str, now: Millis) -> None:
        """A user is no longer paired with the worker."""
        seat.users.discard(user_id)
        self._distrust(user_id, seat)
        self._last_left.update({(kind, user_id): now for kind in seat.card.capabilities})

    def trusted_by(self, user_id: str) -> list[Seat]:
        """The seats of workers that a user is paired with."""
        return list(self._by_user.get(user_id, ()))

    def anyone_for(self, lane: Lane, accept: Callable[[Seat], bool] = lambda _: True) -> bool:
        """Whether a worker that could do jobs of a lane, and is acceptable, is online."""
        if lane.user_id is None:
            return any(seat.can_do(lane) and accept(seat) for seat in self._by_type[lane.job_type])
        return any(seat.can_do(lane) and accept(seat) for seat in self.trusted_by(lane.user_id))

    def others_for(self, job: Job) -> bool:
        """Whether a worker is online, and not suspended, that has not turned a job down or got it.

        One that is suspended counts where jobs wait for whoever can do them, not where a job that
        somebody else could do would have to wait for it.
        """
        refused = {refusal.worker_key for refusal in job.avoid} | {job.worker_key}
        return self.anyone_for(
            job.lane, lambda seat: seat.key not in refused and not seat.suspended
        )

    def last_left(self, lane: Lane) -> Millis:
        """When the last worker that could do jobs of a lane left; 0 if none did lately."""
        return self._last_left.get((lane.job_type, lane.user_id), 0)

    def forget_left(self, before: Millis) -> None:
        """Drops what is known of those who left before a moment."""
        self._last_left = {
            what: moment for what, moment in self._last_left.items() if moment >= before
        }

    def _distrust(self, user_id: str, seat: Seat) -> None:
        seats = self._by_user.get(user_id)
        if seats is not None:
            seats.pop(seat, None)
            if not seats:
                del self._by_user[user_id]
