"""What other coordinators over the same store do, as far as it concerns this one.

Bells hint, and the store knows: after one, or after a while without, it is looked at what waits, at
the jobs that somebody watches here or a worker here has, and at who sits where.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.contact import Contact
from dispatchd.coordinator.life import Step
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.proofs import Proofs
from dispatchd.coordinator.sealing import Sealing
from dispatchd.coordinator.seats import Seat, Seats
from dispatchd.coordinator.series import Counts
from dispatchd.coordinator.users import Users
from dispatchd.core.chain import Bundle
from dispatchd.core.clock import Clock, passed
from dispatchd.core.errors import NotFound, StoreUnavailable
from dispatchd.core.job import ENDED, LEASED, Job, Lease, Millis, millis
from dispatchd.core.keys import KeyPair, signature_holds
from dispatchd.core.neighbour import (
    NETWORK,
    Bell,
    Changes,
    JobState,
    Neighbour,
    Sitting,
    relay_text,
)
from dispatchd.feed import Feed
from dispatchd.store import ClusterStore, JobStore, RecordStore

log = logging.getLogger(__name__)

_INSURANCE_SECONDS = 5.0
_TRUST_INSURANCE_SECONDS = 30.0
_ANNOUNCE_SECONDS = 10.0
_GONE_SECONDS = 3 * _ANNOUNCE_SECONDS
_HELD_SECONDS = 0.5
_BETWEEN_LOOKS_SECONDS = 0.02
_RETRY_SECONDS = 1.0
_TICKET_SECONDS = 60
_STRUCK_SECONDS = 60  # clocks differ, and a write takes time


class Relay(Protocol):
    """Asks another coordinator, by its URL, for what it alone has of a job, or has counted."""

    def text(self, url: str, job_id: str, place: str, ticket: str) -> AsyncIterator[str]:
        """The live text of a job from a place on, until its attempt or the connection ends."""
        ...

    async def bundle(self, url: str, job_id: str, ticket: str) -> Bundle | None:
        """The proof of a job's result; None where it cannot be had at the moment."""
        ...

    async def steps(self, url: str, job_id: str, ticket: str) -> list[Step]:
        """What it has seen of a job; nothing where it cannot be asked at the moment."""
        ...

    async def counts(self, url: str, since: int, ticket: str) -> Counts | None:
        """What it has counted, its buckets from a number on; None where it cannot be asked."""
        ...


class Neighbours:
    """Where this coordinator stands among others."""

    def __init__(
        self,
        cluster: ClusterStore,
        jobs: JobStore,
        records: RecordStore,
        seats: Seats,
        matching: Matching,
        admission: Admission,
        proofs: Proofs,
        feed: Feed,
        users: Users,
        sealing: Sealing,
        contact: Contact,
        key: KeyPair,
        relay: Relay,
        clock: Clock,
    ) -> None:
        self.cluster = cluster
        self.moved = asyncio.Event()
        """Set where others have changed what becomes of jobs; whoever looks then clears it."""
        self._jobs = jobs
        self._records = records
        self._seats = seats
        self._matching = matching
        self._admission = admission
        self._proofs = proofs
        self._feed = feed
        self._users = users
        self.sealing = sealing
        self._contact = contact
        self._key = key
        self._relay = relay
        self._clock = clock
        self._ring = seats.stirred
        self._rung: set[Bell] = set()
        self._met_at: Millis = 0
        self._announced = -1
        self._told: dict[str, Sitting] | None = None
        self._looked_at = self._struck_at = self._trust_at = clock.now()
        self._withdrawn = False
        self._held_at: Millis = 0
        self._held_may_be_gone = False
        self._others: dict[str, Neighbour] = {}
        self._relays: dict[str, asyncio.Task[None]] = {}

    async def prepare(self) -> None:
        """Looks at who else is there, before anything can be committed."""
        await self._look_around()
        await self._look_at_trust()

    async def listen(self) -> None:
        """Hears bells for as long as the node lives."""
        await self.cluster.listen(self._heard, self._clock)

    def _heard(self, bell: Bell) -> None:
        if bell is Bell.JOBS:
            self.moved.set()
        self._rung.add(bell)
        self._ring.set()

    async def run(self, url: str) -> None:
        """Does what bells ask for, for as long as the node lives; others find it at `url`."""
        try:
            while True:
                await self._clock.wait(self._ring, self._seconds_to_look())
                self._ring.clear()
                rung, self._rung = self._rung, set()
                now = self._clock.now()
                if passed(self._looked_at, now, _INSURANCE_SECONDS):
                    rung, self._looked_at = rung | self._missed(), now
                try:
                    await self._look(rung, url)
                except StoreUnavailable as error:
                    log.warning("cannot look at what other coordinators do: %s", error)
                    self._rung |= rung
                    self._ring.set()
                    await self._clock.sleep(_RETRY_SECONDS)
                await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)
        finally:
            for task in list(self._relays.values()):
                task.cancel()

    def _seconds_to_look(self) -> float:
        due = self._looked_at + millis(_INSURANCE_SECONDS)
        left = min(max(0, due - self._clock.now()) / 1000, _INSURANCE_SECONDS)
        return min(_HELD_SECONDS, left) if self._held_may_be_gone else left

    def _missed(self) -> set[Bell]:
        """Bells that may have rung unheard; users are many and change seldom."""
        overdue = passed(self._trust_at, self._clock.now(), _TRUST_INSURANCE_SECONDS)
        return set(Bell) if overdue else {Bell.JOBS, Bell.PEOPLE}

    async def withdraw(self) -> None:
        """Lets the others know that this coordinator stops; from now on it is not announced."""
        self._withdrawn = True
        with contextlib.suppress(StoreUnavailable):
            await self.cluster.withdraw()

    def has(self, coordinator_key: str) -> bool:
        """Whether that is another coordinator that lives."""
        return coordinator_key in self._others

    def ticket(self, subject: str) -> str:
        """What shows another coordinator that it may show this one what it alone has of a job.

        The subject is the job's id, or `NETWORK`.
        """
        at = self._clock.now()
        signature = self._key.sign(relay_text(self._key.public_hex, subject, at))
        return f"{self._key.public_hex} {at} {signature}"

    def is_ticket(self, subject: str, ticket: str) -> bool:
        """Whether this is another coordinator's ticket for that, not older than a minute."""
        key, _, rest = ticket.partition(" ")
        at, _, signature = rest.partition(" ")
        if key not in self._others or not (at.isascii() and at.isdigit() and len(at) <= 15):
            return False
        if abs(self._clock.now() - int(at)) > millis(_TICKET_SECONDS):
            return False
        return signature_holds(key, relay_text(key, subject, int(at)), signature)

    async def bundle(self, job: Job) -> Bundle | None:
        """The proof of a job's result where another has it in its chain; None where nobody has.

        Where that one cannot be asked, it is proved by what it has signed before. Raises `NotFound`
        where it has not signed that: nobody else can sign for it.
        """
        owner = await self.cluster.chained_by(job.id)
        if owner is None:
            return None
        other = self._others.get(owner)
        bundle = None
        if other is not None:
            bundle = await self._relay.bundle(other.url, job.id, self.ticket(job.id))
        if bundle is None:
            bundle = await self.sealing.bundle(job)
        if bundle is None:
            raise NotFound(
                f"The receipt is chained by coordinator {owner}, which is not there and has not"
                " signed that entry yet"
            )
        return bundle

    async def steps(self, job_id: str) -> list[Step]:
        """What the others have seen of a job, as far as they can be asked."""
        ticket = self.ticket(job_id)
        asked = (self._relay.steps(each.url, job_id, ticket) for each in self._others.values())
        return [step for steps in await asyncio.gather(*asked) for step in steps]

    async def counts(self, since: Mapping[str, int]) -> dict[str, Counts]:
        """What each of the others has counted, its buckets from a number on (0: all).

        Those that cannot be asked at the moment are left out.
        """
        ticket, others = self.ticket(NETWORK), list(self._others.values())
        asked = (
            self._relay.counts(each.url, since.get(each.coordinator_key, 0), ticket)
            for each in others
        )
        answers = zip(others, await asyncio.gather(*asked), strict=True)
        return {other.coordinator_key: counts for other, counts in answers if counts is not None}

    async def _look(self, rung: set[Bell], url: str) -> None:
        now = self._clock.now()
        if Bell.JOBS in rung:
            self._held_may_be_gone = True
            await self._matching.look()
        if self._held_may_be_gone and passed(self._held_at, now, _HELD_SECONDS):
            self._held_at, self._held_may_be_gone = now, False
            await self._look_at_held()
        await self._look_at_watched()
        due = passed(self._met_at, now, _ANNOUNCE_SECONDS)
        if not self._withdrawn and (self._seats.version != self._announced or due):
            version = self._seats.version
            sittings = {each.key: each for each in self._seats.sittings}
            changes = Changes.between(self._told, sittings)
            self._told = None  # nobody knows what has been told where this fails
            await self.cluster.announce(url, changes)
            self._told, self._announced, self._met_at = sittings, version, now
        if Bell.PEOPLE in rung:
            await self._look_around()
            await self._look_at_struck()
        if Bell.TRUST in rung:
            await self._look_at_trust()

    async def _living(self) -> list[Neighbour]:
        """The others that live; they need not have said so while this one was cut off itself."""
        known = {other.coordinator_key: other.version for other in self._others.values()}
        breaks = self._contact.breaks
        silent_seconds = _GONE_SECONDS + self._contact.away(_GONE_SECONDS)
        found = await self.cluster.neighbours(known, silent_seconds)
        self._contact.made()
        return found if self._contact.breaks == breaks else await self._living()

    async def _look_around(self) -> None:
        """Learns who sits elsewhere."""
        others = {each.coordinator_key: each for each in await self._living()}
        news = {key: each.changes for key, each in others.items() if each.changes != Changes()}
        changes = dict.fromkeys(self._others.keys() - others.keys()) | news
        now = self._clock.now()
        for coordinator_key, change in changes.items():
            self._seats.sit_elsewhere(coordinator_key, change, now)
        self._others = others
        if changes:
            self._feed.journal.crowd_changed()
        for seat in self._seats:
            for sitting in self._seats.elsewhere.with_key(seat.key).values():
                if _has_followed(sitting, seat):
                    self._admission.moved(seat, proven=sitting.proven)
                    break
        self._proofs.look_elsewhere()

    async def _look_at_trust(self) -> None:
        """Learns which keys users have, and whom they trust by now."""
        self._trust_at = self._clock.now()
        await self._users.prepare()
        here = {seat.key: (seat, frozenset(seat.users)) for seat in self._seats}
        for key, users in (await self.cluster.users_of_all(list(here))).items():
            seat, known = here[key]
            if self._seats.with_key(key) is not seat:
                continue
            if seat.users != known:  # it was read before that
                self._heard(Bell.TRUST)
                continue
            for user_id in users - seat.users:
                self._proofs.trusted(seat, user_id)
            for user_id in seat.users - users:
                self._seats.distrust(seat, user_id, self._clock.now())
        self._proofs.look_elsewhere()

    async def _look_at_held(self) -> None:
        """Takes from the workers here what has been ended or taken back elsewhere."""
        held = {held.lease: seat for seat in self._seats for held in seat.jobs}
        stand = await self.cluster.states([lease.job_id for lease in held])
        standing = {
            (Lease(state.job_id, state.attempt), state.worker_key)
            for state in stand
            if state.status in LEASED
        }
        ended = [(seat, lease) for lease, seat in held.items() if (lease, seat.key) not in standing]
        for seat, lease in ended:
            if (gone := seat.holds(lease)) is not None:
                seat.drop(gone)
        if ended:
            await self._look_at_struck()

    async def _look_at_struck(self) -> None:
        """Grades workers here by what others have said of them."""
        now = self._clock.now()
        since = self._struck_at - millis(_STRUCK_SECONDS)
        for key, standing in (await self._records.struck_since(since)).items():
            seat = self._seats.with_key(key)
            if seat is not None and seat.standing.strikes != standing.strikes:
                seat.standing = standing
                self._matching.review(seat)
        self._struck_at = now

    async def _look_at_watched(self) -> None:
        """Tells those who watch here what becomes of jobs that workers elsewhere have."""
        watched = [each for each in self._feed.watched_jobs if each not in self._seats.under_way]
        states = await self.cluster.states(watched) if watched else []
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
        place = next(iter(self._seats.elsewhere.with_key(state.worker_key or "")), None)
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

    Whoever has proven the key gives way to another that has, and never to one that has not. The
    worker of this process is nowhere else.
    """
    if seat.local:
        return False
    return sitting.since > seat.since and (sitting.proven or not seat.proven)
