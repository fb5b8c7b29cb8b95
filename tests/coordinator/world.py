"""A coordinator over a gated store, and workers of which a test knows what they believe."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from dispatchd.coordination import Coordination
from dispatchd.coordinator.chain import open_chain
from dispatchd.coordinator.intake import Order
from dispatchd.coordinator.seats import Seat
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.clock import iso
from dispatchd.core.errors import BadReceipt, LeaseLost, NoTrustedWorker, Stopping
from dispatchd.core.job import Completion, Fault, JobStatus, JobType, Lane, Lease
from dispatchd.core.keys import KeyPair
from dispatchd.core.limits import Limits
from dispatchd.core.proof import proof_text
from dispatchd.core.receipt import complete
from dispatchd.core.record import Blame
from dispatchd.store.sqlite.store import open_sqlite
from tests.coordinator.gate import Gate, breathe
from tests.coordinator.ledger import Ledger
from tests.support.clock import FakeClock

ALL_TYPES = frozenset(JobType)
HOST = "coordinator.test"


def key_number(number: int) -> KeyPair:
    """Always the same key for a number."""
    return KeyPair(SigningKey(bytes([number]) * 32))


def holds(seat: Seat, lease: Lease) -> bool:
    """Whether a verb for a lease can succeed; one that has ended meanwhile is changed by none."""
    return seat.holds(lease) is not None and not seat.left.is_set()


@dataclass
class Peer:
    """A worker: what it is, where it sits, and the leases that it believes to have."""

    key: KeyPair
    job_types: frozenset[JobType] = ALL_TYPES
    places: int = 1
    seat: Seat | None = None
    joining: bool = False
    claims: set[asyncio.Task[None]] = field(default_factory=set)
    running: dict[str, Lease] = field(default_factory=dict)
    former: list[Lease] = field(default_factory=list)

    @property
    def card(self) -> WorkerCard:
        return WorkerCard(
            provider_pubkey=self.key.public_hex,
            provider_type=ProviderType.DESKTOP,
            slots=(Slots(self.job_types, self.places),),
            version="0",
        )


class World:
    """The parts of one process after the other, over the same file."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.clock = FakeClock()
        self.limits = limits
        self.peers = [Peer(key_number(number)) for number in range(1, 5)]
        self.acknowledged: set[str] = set()
        self.draining = False
        self._path = folder / "jobs.sqlite3"
        self._named: dict[tuple[str, str], str] = {}
        self._given: set[Lease] = set()
        self._verbs: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._outputs = 0
        self._canaries = 0

    async def start(self) -> None:
        """A new process."""
        self._process = AsyncExitStack()
        store = await self._process.enter_async_context(open_sqlite(self._path))
        writing = store.jobs._writer._connection
        # Only a power cut would show the difference, and there is none here.
        await writing.call(lambda db: db.execute("PRAGMA synchronous = OFF"))
        if not hasattr(self, "ledger"):
            self.ledger = Ledger(self._path, self.limits.faults_max)
        self._inherited = self.ledger.leases()
        """Given out by a former process: they end with their time, or are taken up."""
        self.gate = Gate(self.ledger.look)
        chain = await open_chain(store.chain, self._path)
        self.parts = Coordination.over(self.gate.over(store), chain, self.clock, self.limits)
        self.draining = False
        self._matching = asyncio.create_task(self.parts.matching.run())

    async def kill(self, *, flushed: bool) -> None:
        """The process is gone: nobody is told, nothing is put back."""
        await self.gate.die(flushed=flushed)
        itself = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not itself]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await breathe()
        self._verbs.clear()
        self._sweeping = None
        for peer in self.peers:
            peer.seat, peer.joining = None, False
            peer.claims.clear()
        await self._process.aclose()

    async def go(self, moves: list[int] | None) -> None:
        """So many moves of the store, or all there are; then what must hold is looked at."""
        if moves is None:
            await self.rest()
            return
        for pick in moves:
            await self.gate.move(pick)
        self._look_at_tasks()

    async def rest(self) -> None:
        """Until nothing happens any more unless time passes or somebody acts."""
        await self.gate.until_quiet()
        self._look_at_tasks()
        while any(self._close_seats_that_are_no_longer_valid()):
            await self.gate.until_quiet()
        self._look_at_tasks()
        self._look_at_leases()
        self._look_for_idle_hands()

    async def pass_time(self, seconds: int, *, hop: int, alive: bool) -> None:
        """Moves the clock and sweeps; workers that are `alive` send heartbeats."""
        while seconds > 0:
            step = min(hop, seconds)
            self.clock.advance(step)
            for peer in self.peers:
                if alive and peer.seat is not None:
                    self.parts.work.heard(peer.seat)
            self.sweep()
            await self.rest()
            seconds -= step

    def sweep(self) -> None:
        """Sweeps, unless a sweep is under way."""
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = self.spawn(self.parts.sweep.once())

    def spawn(self, verb: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(verb)
        self._verbs.add(task)
        return task

    async def submit(self, order: Order, job_id: str, key: str | None) -> None:
        """Commits a job."""
        was_draining = self.draining
        try:
            submitted = await self.parts.coordinator.submit(order, job_id, key)
        except NoTrustedWorker:
            self.acknowledged.add(job_id)
            return
        except Stopping:
            assert self.draining
            assert job_id not in self.ledger.rows
            return
        assert not was_draining or submitted.replayed
        assert submitted.job_id in self.ledger.rows
        self.acknowledged.add(submitted.job_id)
        if key is not None:
            first = self._named.setdefault((order.user_id, key), submitted.job_id)
            assert first == submitted.job_id

    async def pair(self, user_id: str, peer: Peer) -> None:
        """A user trusts a worker from now on."""
        code = await self.parts.coordinator.create_code(user_id)
        await self.parts.coordinator.claim_code(code.code, peer.key.public_hex, "::1")

    async def join(self, peer: Peer, *, mentions: bool, prove: bool = True) -> None:
        """Connects, and takes up what it `mentions` to be still running if it can `prove` its key.

        Who cannot, and would have to wait for the place of one who has, goes away again.
        """
        peer.joining = True
        active = list(peer.running) if mentions else []
        former, peer.seat = peer.seat, None
        if former is not None:
            # It has opened another connection; the old one has not been noticed to be dead.
            self._forget_claims(peer)
        try:
            seat = await self.parts.admission.join(peer.card, active)
            if prove:
                await self._prove(peer, seat)
        except (LeaseLost, Stopping):
            self._run_out(active)
            return  # it took so long that it has been given up, or another one was quicker
        finally:
            peer.joining = False
        if not prove:
            self._run_out(active)
        if self.parts.seats.waits(seat):
            await self.parts.admission.leave(seat)
            peer.seat = former
            self.claim(peer)
            return
        assert set(seat.held) <= set(active)
        if former is not None:
            assert former.left.is_set()
        peer.former += [lease for lease in peer.running.values() if not seat.holds(lease)]
        peer.running = {held.job.id: held.lease for held in seat.held.values()}
        peer.seat = seat
        self.claim(peer)

    def _run_out(self, job_ids: list[str]) -> None:
        """Leases that were to be kept, but are nobody's before their time is up."""
        self._inherited |= {lease for lease in self.ledger.leases() if lease.job_id in job_ids}

    async def _prove(self, peer: Peer, seat: Seat) -> None:
        assert seat.challenge is not None
        signature = peer.key.sign(proof_text(seat.id, seat.challenge, HOST))
        assert await self.parts.admission.prove(seat, signature, HOST)
        if seat.left.is_set():
            raise LeaseLost("it was replaced while it proved its key")

    def leave(self, peer: Peer) -> None:
        """Its connection ends."""
        if peer.seat is not None:
            self._forget_claims(peer)
            self.spawn(self.parts.admission.leave(peer.seat))
            peer.seat = None

    def claim(self, peer: Peer) -> None:
        """Offers every free place."""
        seat = peer.seat
        while seat is not None and len(peer.claims) + len(seat.held) < peer.places:
            task = asyncio.create_task(self._claim(peer, seat))
            peer.claims.add(task)
            task.add_done_callback(peer.claims.discard)
            self._verbs.add(task)

    async def _claim(self, peer: Peer, seat: Seat) -> None:
        try:
            assignment = await self.parts.work.claim(seat, peer.job_types)
        except LeaseLost:
            assert seat.left.is_set()
            return
        lease = assignment.lease
        if lease.job_id not in self.ledger.rows:
            await self._answer_canary(peer, seat, lease)
            return
        assert lease not in self._given, f"{lease} was given twice"
        assert assignment.job_type in peer.job_types
        self._given.add(lease)
        if seat.holds(lease):
            peer.running[lease.job_id] = lease

    async def _answer_canary(self, peer: Peer, seat: Seat, lease: Lease) -> None:
        """Every other one is turned down."""
        self._canaries += 1
        try:
            if self._canaries % 2:
                await self.parts.work.fail(seat, lease, Fault("boom", Blame.REJECTED))
            else:
                await self.parts.work.finish(seat, lease, self.result(peer.key, lease.job_id))
        except LeaseLost:
            assert seat.left.is_set()
        task = asyncio.current_task()
        if peer.seat is seat and task is not None:
            peer.claims.discard(task)
            self.claim(peer)

    async def progress(self, seat: Seat, lease: Lease) -> None:
        """Reports progress."""
        held = holds(seat, lease)
        try:
            await self.parts.work.progress(seat, lease, "…")
        except LeaseLost:
            return
        assert held, f"progress of {lease}, which was lost, was accepted"

    async def finish(self, seat: Seat, lease: Lease, done: Completion, *, good: bool) -> None:
        """Hands a result in, under a lease that stands or not."""
        held, output = holds(seat, lease), done.output
        try:
            await self.parts.work.finish(seat, lease, done)
        except LeaseLost:
            assert self.ledger.rows[lease.job_id]["output"] != output
            return
        except BadReceipt:
            assert not good
        assert held, f"the result for {lease}, which was lost, was accepted"
        row = self.ledger.rows[lease.job_id]
        if good:
            found = (row["status"], row["output"], row["attempt"], row["worker_key"])
            assert found == (JobStatus.COMPLETED, output, lease.attempt, seat.key)
        else:
            assert row["output"] != output

    async def fail(self, seat: Seat, lease: Lease, fault: Fault) -> None:
        """Reports a failed attempt."""
        held = holds(seat, lease)
        try:
            await self.parts.work.fail(seat, lease, fault)
        except LeaseLost:
            return
        assert held, f"the failure of {lease}, which was lost, was accepted"

    def result(self, key: KeyPair, job_id: str) -> Completion:
        """A well signed result, unlike any other."""
        self._outputs += 1
        return complete(key, job_id, f'{{"n":{self._outputs}}}', iso(self.clock.now()))

    async def drain(self, grace_seconds: float) -> None:
        """Stops as a node does."""
        held = {kept.lease for seat in self.parts.seats for kept in seat.jobs}
        orphans = self._inherited - held
        self.draining = True
        self.parts.coordinator.stop()
        await self.parts.work.let_finish(grace_seconds)
        assert self.ledger.leases() <= orphans, "leases are left behind after draining"

    def _forget_claims(self, peer: Peer) -> None:
        for claim in peer.claims:
            claim.cancel()
        peer.claims.clear()

    def _close_seats_that_are_no_longer_valid(self) -> Iterator[bool]:
        for peer in self.peers:
            if peer.seat is not None and peer.seat.left.is_set():
                self.leave(peer)
                yield True

    def _look_at_tasks(self) -> None:
        assert not self._matching.done(), self._matching
        ended = {task for task in self._verbs if task.done()}
        self._verbs -= ended
        for task in ended:
            if not task.cancelled():
                task.result()

    def _look_at_leases(self) -> None:
        """At rest, a lease is held by one seat at the most, and a seat holds what it has."""
        seen: set[str] = set()
        for seat in self.parts.seats:
            for held in seat.jobs:
                assert held.job.id not in seen, f"{held.job.id} is held twice"
                assert self.ledger.stands(held.lease, seat.key), f"{held.lease} is gone"
                seen.add(held.job.id)

    def _look_for_idle_hands(self) -> None:
        """At rest, no job waits that nobody has turned down while a free place could take it."""
        waiting = [row for row in self.ledger.rows.values() if row["status"] == JobStatus.PENDING]
        for row in waiting if not self.draining else ():
            for seat in self.parts.seats:
                kinds = {kind for offer in seat.offers for kind in offer.job_types}
                trusted = row["privacy"] == "PUBLIC" or seat.can_do(
                    Lane(JobType(row["job_type"]), row["user_id"])
                )
                able = row["job_type"] in kinds and trusted and not seat.suspended
                idle = able and row["avoid"] == "[]"
                assert not idle, f"{seat.key[:8]} is idle, but {row} waits"
