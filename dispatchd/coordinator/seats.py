"""The workers that are online: what each can do, what it holds, and where it offers itself."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from uuid import uuid4

from dispatchd.coordinator.sittings import Sittings
from dispatchd.core.card import WorkerCard
from dispatchd.core.job import Assignment, Job, JobType, Lane, Lease, Millis
from dispatchd.core.neighbour import Changes, Sitting
from dispatchd.core.proof import new_challenge
from dispatchd.core.standing import Grade, Standing


class Held:
    """A lease that a seat holds. `ended` is set when it no longer does, for whatever reason.

    A `canary` is the coordinator's own job, of which neither the store nor any user knows.
    """

    def __init__(self, job: Job, *, canary: bool = False) -> None:
        self.job = job
        self.lease = Lease(job.id, job.attempt)
        self.canary = canary
        self.running = False
        self.ended = asyncio.Event()

    @property
    def assignment(self) -> Assignment:
        """The job as it is handed to the worker."""
        job = self.job
        return Assignment(
            lease=self.lease,
            job_type=job.job_type,
            payload=job.payload,
            policy=job.tier,
            privacy_class=job.privacy,
            user_id=job.user_id,
            payment_ref=job.payment_ref,
        )


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
    `settled` is set when it has left, or has proven its key and holds again what it held before.

    A worker in this process is `proven` from the start. Another one of ours has a `challenge` to
    answer; the leases `promised` to it, of those that its key had before, are its own after that.
    """

    def __init__(
        self, card: WorkerCard, now: Millis, under_way: dict[str, Held], *, local: bool
    ) -> None:
        self.id = str(uuid4())
        self.card = card
        self.users: set[str] = set()
        self.local = local
        self.since = now
        self.heard_at = now
        self.held: dict[str, Held] = {}
        self._under_way = under_way
        self.offers: dict[Offer, None] = {}
        self.offered: frozenset[JobType] = frozenset()
        """The job types for which it has had a place; for others it is not ready yet."""
        self.turn_taken = 0
        """Which of the jobs that were given out was its latest; 0 where it has had none."""
        self.standing = Standing()
        self.grade = Grade.GOOD
        """What its standing was worth when that was last looked at."""
        self.left = asyncio.Event()
        self.displaced = False
        """Whether it has left because somebody else has proven the same key."""
        self.settled = asyncio.Event()
        self.proven = local
        self.challenge = None if local or card.version is None else new_challenge()
        self.promised: tuple[str, ...] = ()
        self.left_over: dict[str, Lease] = {}
        """What was leased to its key when it came, by job."""
        self.proving = False
        """Whether its proof may come any moment."""
        self.due: Job | None = None
        """A canary that waits for a place."""
        self.asked = asyncio.Event()
        """Set where the worker is to be asked for a sign of life; whoever serves it asks."""
        self.unanswered = False
        self.answer_by: Millis = 0
        self.turn = asyncio.Event()
        """Rings where it waits for the place of another connection, and something has changed."""

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
        if lane.user_id is not None and not self.proven:
            return False
        return self.card.can_do(lane, self.users)

    @property
    def jobs(self) -> list[Held]:
        """What it holds of users' jobs."""
        return [held for held in self.held.values() if not held.canary]

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

    def hold_canary(self, job: Job) -> Held:
        """The worker has a job of the coordinator's own, which nobody else can see."""
        held = Held(job, canary=True)
        self.held[job.id] = held
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

    def __init__(self, stirred: asyncio.Event | None = None) -> None:
        self.under_way: dict[str, Held] = {}
        """What the seats hold, by job: those jobs have not ended."""
        self._by_key: dict[str, Seat] = {}
        self._waiting: dict[str, Seat] = {}
        self._by_type: dict[JobType, dict[Seat, None]] = {kind: {} for kind in JobType}
        self._by_user: dict[str, dict[Seat, None]] = {}
        self._last_left: dict[tuple[JobType, str | None], Millis] = {}
        self.elsewhere = Sittings()
        self.version = 0
        """Grows whenever others would see something else in who sits here."""
        self.stirred = stirred or asyncio.Event()
        """Is set then."""

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Seat]:
        return iter(list(self._by_key.values()))

    def with_key(self, key: str) -> Seat | None:
        """The seat of the worker with that key."""
        return self._by_key.get(key)

    def wait(self, seat: Seat) -> Seat | None:
        """A worker waits for the place of another with its key; who has waited so far, if any."""
        if (former := self._waiting.get(seat.key)) is not None:
            self._stop_waiting(former)
        self._waiting[seat.key] = seat
        return former

    def waits(self, seat: Seat) -> bool:
        """Whether a worker waits for the place of another with its key."""
        return self._waiting.get(seat.key) is seat

    def tell_waiting(self, key: str) -> None:
        """Rings for who waits for the place of that key."""
        if (waiting := self._waiting.get(key)) is not None:
            waiting.turn.set()

    def add(self, seat: Seat) -> None:
        """A worker has come; nobody else may sit there with its key."""
        self._stop_waiting(seat)
        self.stir()
        self._by_key[seat.key] = seat
        for kind in seat.card.capabilities:
            self._by_type[kind][seat] = None
        for user_id in seat.users:
            self.trust(seat, user_id)

    def remove(self, seat: Seat, now: Millis) -> None:
        """A worker has gone."""
        self._stop_waiting(seat)
        if self._by_key.get(seat.key) is not seat:
            return
        self.stir()
        del self._by_key[seat.key]
        self.tell_waiting(seat.key)
        for kind in seat.card.capabilities:
            self._by_type[kind].pop(seat, None)
            self._last_left[kind, None] = now
        self.no_longer_for(seat, seat.users, now)
        for user_id in seat.users:
            self._distrust(user_id, seat)

    def no_longer_for(self, seat: Seat, users: Iterable[str], now: Millis) -> None:
        """Until now these users could count on a worker."""
        kinds = seat.card.capabilities
        self._last_left.update({(kind, user_id): now for user_id in users for kind in kinds})

    def trust(self, seat: Seat, user_id: str) -> None:
        """A user has been paired with the worker."""
        self.stir()
        seat.users.add(user_id)
        self._by_user.setdefault(user_id, {})[seat] = None

    def distrust(self, seat: Seat, user_id: str, now: Millis) -> None:
        """A user is no longer paired with the worker."""
        self.stir()
        seat.users.discard(user_id)
        self._distrust(user_id, seat)
        self.no_longer_for(seat, (user_id,), now)

    def trusted_by(self, user_id: str) -> list[Seat]:
        """The seats of workers that a user is paired with."""
        return list(self._by_user.get(user_id, ()))

    def anyone_for(
        self, lane: Lane, accept: Callable[[Seat | Sitting], bool] = lambda _: True
    ) -> bool:
        """Whether a worker that could do jobs of a lane, and is acceptable, is online anywhere."""
        if lane.user_id is None:
            here: Iterable[Seat] = self._by_type[lane.job_type]
        else:
            here = self.trusted_by(lane.user_id)
        everywhere: Iterable[Seat | Sitting] = itertools.chain(here, self.elsewhere.for_lane(lane))
        return any(worker.can_do(lane) and accept(worker) for worker in everywhere)

    @property
    def sittings(self) -> list[Sitting]:
        """Who sits here, as other coordinators may know it."""
        return [
            Sitting(
                card=seat.card,
                users=frozenset(seat.users),
                since=seat.since,
                proven=seat.proven,
                proving=seat.proving,
                suspended=seat.suspended,
            )
            for seat in self
        ]

    @property
    def models(self) -> set[str]:
        """The models of workers that know the field `model`, wherever they sit."""
        able = [seat.card for seat in self if JobType.LLM_INFER in seat.card.capabilities]
        here = {name for card in able if card.version is not None for name in card.models}
        return here | self.elsewhere.models

    def sit_elsewhere(self, coordinator_key: str, changes: Changes | None, now: Millis) -> None:
        """Who sits at another coordinator has changed; None where that coordinator has gone."""
        if changes is None:
            gone = self.elsewhere.forget(coordinator_key)
        else:
            gone = self.elsewhere.change(coordinator_key, changes)
        for each in gone:
            users = (None, *each.users)
            self._last_left.update(
                {(kind, user_id): now for kind in each.card.capabilities for user_id in users}
            )

    @property
    def online(self) -> Iterator[str]:
        """The keys of all workers that are connected, those that sit here first."""
        yield from self._by_key
        yield from (key for key in self.elsewhere.keys if key not in self._by_key)

    def place_of(self, worker_key: str) -> Seat | Sitting | None:
        """Where a worker sits now, here or at another coordinator."""
        return self._by_key.get(worker_key) or self.elsewhere.place_of(worker_key)

    def holder_proven(self, job: Job) -> bool:
        """Whether the worker that a job is leased to is known to hold its key, wherever it sits."""
        seat = self._by_key.get(job.worker_key or "")
        if seat is not None:
            return seat.proven and seat.holds(Lease(job.id, job.attempt)) is not None
        holders = self.elsewhere.with_key(job.worker_key or "").values()
        return bool(holders) and all(each.proven for each in holders)

    def proving(self, lane: Lane) -> list[Seat]:
        """Workers that may do jobs of a PRIVATE lane once their proof comes, as it may."""
        seats = self._by_user.get(lane.user_id, ()) if lane.user_id is not None else ()
        return [seat for seat in seats if seat.proving and seat.card.can_do(lane, seat.users)]

    def proving_elsewhere(self, lane: Lane) -> bool:
        """Whether there is such a worker at another coordinator."""
        if lane.user_id is None:
            return False
        there = self.elsewhere.for_lane(lane)
        return any(each.proving and each.card.can_do(lane, each.users) for each in there)

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

    def stir(self) -> None:
        """Who sits here, who trusts them, or what is known of them has changed."""
        self.version += 1
        self.stirred.set()

    def _stop_waiting(self, seat: Seat) -> None:
        if self.waits(seat):
            del self._waiting[seat.key]
            seat.turn.set()

    def _distrust(self, user_id: str, seat: Seat) -> None:
        seats = self._by_user.get(user_id)
        if seats is not None:
            seats.pop(seat, None)
            if not seats:
                del self._by_user[user_id]
