"""What other coordinators over the same store do, as far as it concerns this one.

Bells hint, and the store knows: after one, or after a while without, it is looked at what waits, at
the jobs that somebody watches here or a worker here has, and at who sits where.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.proofs import Proofs
from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.coordinator.users import Users
from dispatchd.core.chain import Bundle
from dispatchd.core.clock import Clock
from dispatchd.core.errors import NotFound, StoreUnavailable
from dispatchd.core.job import ENDED, LEASED, Lease, Millis, millis
from dispatchd.core.keys import KeyPair, signature_holds
from dispatchd.core.neighbour import Bell, Changes, JobState, Neighbour, Sitting, relay_text
from dispatchd.feed import Feed
from dispatchd.store import ClusterStore, JobStore

log = logging.getLogger(__name__)

_INSURANCE_SECONDS = 5.0
_TRUST_INSURANCE_SECONDS = 30.0
_ANNOUNCE_SECONDS = 10.0  # who has not been seen for three times that is gone
_HELD_SECONDS = 0.5
_BETWEEN_LOOKS_SECONDS = 0.02
_RETRY_SECONDS = 1.0
_TICKET_SECONDS = 60


class Relay(Protocol):
    """Asks another coordinator, by its URL, for what it alone has of a job."""

    def text(self, url: str, job_id: str, place: str, ticket: str) -> AsyncIterator[str]:
        """The live text of a job from a place on, until its attempt or the connection ends."""
        ...

    async def bundle(self, url: str, job_id: str, ticket: str) -> Bundle | None:
        """The proof of a job's result; None where it cannot be had at the moment."""
        ...


class Neighbours:
    """Where this coordinator stands among others."""

    def __init__(
        self,
        cluster: ClusterStore,
        jobs: JobStore,
        seats: Seats,
        matching: Matching,
        admission: Admission,
        proofs: Proofs,
        feed: Feed,
        users: Users,
        key: KeyPair,
        relay: Relay,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._jobs = jobs
        self._seats = seats
        self._matching = matching
        self._admission = admission
        self._proofs = proofs
        self._feed = feed
        self._users = users
        self._key = key
        self._relay = relay
        self._clock = clock
        self._ring = seats.stirred
        self._rung: set[Bell] = set()
        self._met_at: Millis = 0
        self._announced = -1
        self._told: dict[str, Sitting] | None = None
        self._held_at: Millis = 0
        self._held_may_be_gone = False
        self._others: dict[str, Neighbour] = {}
        self._trust_at: Millis = 0
        self._relays: dict[str, asyncio.Task[None]] = {}

    async def prepare(self) -> None:
        """Looks at who else is there, before anything can be committed."""
        await self._look_around()
        await self._look_at_trust()

    async def listen(self) -> None:
        """Hears bells for as long as the node lives."""
        await self._cluster.listen(self._heard, self._clock)

    def _heard(self, bell: Bell) -> None:
        self._rung.add(bell)
        self._ring.set()

    async def run(self, url: str) -> None:
        """Does what bells ask for, for as long as the node lives; others find it at `url`."""
        try:
            while True:
                waiting = _HELD_SECONDS if self._held_may_be_gone else _INSURANCE_SECONDS
                rang = await self._clock.wait(self._ring, waiting)
                self._ring.clear()
                rung, self._rung = self._rung, set()
                if not rang and not self._held_may_be_gone:
                    rung = self._missed()
                try:
                    await self._look(rung, url)
                except StoreUnavailable as error:
                    log.warning("cannot look at what other coordinators do: %s", error)
                    self._rung |= rung
                    await self._clock.sleep(_RETRY_SECONDS)
                await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)
        finally:
            for task in list(self._relays.values()):
                task.cancel()

    def _missed(self) -> set[Bell]:
        """Bells that may have rung unheard; users are many and change seldom."""
        overdue = self._clock.now() - self._trust_at >= millis(_TRUST_INSURANCE_SECONDS)
        return set(Bell) if overdue else {Bell.JOBS, Bell.PEOPLE}

    async def withdraw(self) -> None:
        """Lets the others know that this coordinator stops."""
        with contextlib.suppress(StoreUnavailable):
            await self._cluster.withdraw()

    def ticket(self, job_id: str) -> str:
        """What shows another coordinator that it may show this one a job's live text."""
        at = self._clock.now()
        signature = self._key.sign(relay_text(self._key.public_hex, job_id, at))
        return f"{self._key.public_hex} {at} {signature}"

    def is_ticket(self, job_id: str, ticket: str) -> bool:
        """Whether this is another coordinator's ticket for that job, not older than a minute."""
        key, _, rest = ticket.partition(" ")
        at, _, signature = rest.partition(" ")
        if key not in self._others or not (at.isascii() and at.isdigit() and len(at) <= 15):
            return False
        if abs(self._clock.now() - int(at)) > millis(_TICKET_SECONDS):
            return False
        return signature_holds(key, relay_text(key, job_id, int(at)), signature)

    async def bundle(self, job_id: str) -> Bundle | None:
        """The proof of a job's result where another has it in its chain; None where nobody has.

        Raises `NotFound` where the one that has cannot be asked: nobody else can sign for it.
        """
        owner = await self._cluster.chained_by(job_id)
        if owner is None:
            return None
        other = self._others.get(owner)
        bundle = None
        if other is not None:
            bundle = await self._relay.bundle(other.url, job_id, self.ticket(job_id))
        if bundle is None:
            raise NotFound(f"The receipt is chained by coordinator {owner}, which is not there")
        return bundle

    async def _look(self, rung: set[Bell], url: str) -> None:
        now = self._clock.now()
        if Bell.JOBS in rung:
            self._held_may_be_gone = True
            await self._matching.look()
        if self._held_may_be_gone and now - self._held_at >= millis(_HELD_SECONDS):
            self._held_at, self._held_may_be_gone = now, False
            await self._look_at_held()
        await self._look_at_watched()
        due = now - self._met_at >= millis(_ANNOUNCE_SECONDS)
        if self._seats.version != self._announced or due:
            version = self._seats.version
            sittings = {each.key: each for each in self._seats.sittings}
            changes = Changes.between(self._told, sittings)
            self._told = None  # nobody knows what has been told where this fails
            await self._cluster.announce(url, changes)
            self._told, self._announced, self._met_at = sittings, version, now
        if Bell.PEOPLE in rung:
            await self._look_around()
        if Bell.TRUST in rung:
            await self._look_at_trust()

    async def _look_around(self) -> None:
        """Learns who sits elsewhere."""
        known = {other.coordinator_key: other.version for other in self._others.values()}
        others = {each.coordinator_key: each for each in await self._cluster.neighbours(known)}
        now = self._clock.now()
        for gone in self._others.keys() - others.keys():
            self._seats.sit_elsewhere(gone, None, now)
        for other in others.values():
            self._seats.sit_elsewhere(other.coordinator_key, other.changes, now)
        self._others = others
        for seat in self._seats:
            if any(_has_followed(each, seat) for each in self._elsewhere(seat.key).values()):
                self._admission.moved(seat)
        self._proofs.look_elsewhere()

    def _elsewhere(self, worker_key: str) -> dict[str, Sitting]:
        return self._seats.elsewhere.with_key(worker_key)

    async def _look_at_trust(self) -> None:
        """Learns which keys users have, and whom they trust by now."""
        self._trust_at = self._clock.now()
        await self._users.prepare()
        here = {seat.key: seat for seat in self._seats}
        for key, users in (await self._cluster.users_of_all(list(here))).items():
            seat = here[key]
            for user_id in users - seat.users:
                self._proofs.trusted(seat, user_id)
            for user_id in seat.users - users:
                self._seats.distrust(seat, user_id, self._clock.now())
        self._proofs.look_elsewhere()

    async def _look_at_held(self) -> None:
        """Takes from the workers here what has been ended or taken back elsewhere."""
        held = {held.lease: seat for seat in self._seats for held in seat.jobs}
        stand = await self._cluster.states([lease.job_id for lease in held])
        standing = {
            (Lease(state.job_id, state.attempt), state.worker_key)
            for state in stand
            if state.status in LEASED
        }
        for lease, seat in held.items():
            if (lease, seat.key) not in standing and (gone := seat.holds(lease)) is not None:
                seat.drop(gone)

    async def _look_at_watched(self) -> None:
        """Tells those who watch here what becomes of jobs that workers elsewhere have."""
        watched = [each for each in self._feed.watched_jobs if each not in self._seats.under_way]
        states = await self._cluster.states(watched) if watched else []
        for job_id in self._relays.keys() - {state.job_id for state in states}:
            self._relays[job_id].cancel()
        for state in states:
            if state.status in ENDED:
                job = await self._jobs.get(state.job_id)
                if job is not None:
                    self._feed.ended_elsewhere(job)
                continue
            self._feed.moved(state.job_id, state.attempt, state.status)
            self._begin_relay(state)

    def _begin_relay(self, state: JobState) -> None:
        if state.status not in LEASED or state.job_id in self._relays:
            return
        place = next(iter(self._elsewhere(state.worker_key or "")), None)
        if place is None:
            return
        task = asyncio.create_task(self._pass_on(self._others[place].url, state), name="relay")
        self._relays[state.job_id] = task
        task.add_done_callback(lambda _: self._relays.pop(state.job_id, None))

    async def _pass_on(self, url: str, state: JobState) -> None:
        """Passes live text on until it ends; whatever is missing then comes with the result."""
        lease = Lease(state.job_id, state.attempt)
        place = f"{state.attempt}-{self._feed.characters(lease)}"
        async for text in self._relay.text(url, state.job_id, place, self.ticket(state.job_id)):
            if state.job_id in self._seats.under_way:
                return
            self._feed.progress(lease, text)


def _has_followed(sitting: Sitting, seat: Seat) -> bool:
    """Whether the worker of a seat sits elsewhere by now, and not somebody who names its key.

    Whoever has proven the key gives way to another that has, and never to one that has not.
    """
    return sitting.since > seat.since and (sitting.proven or not seat.proven)
