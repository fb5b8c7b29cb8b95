"""Random interleavings of everything that can happen never break what the node promises.

The coordinator's real parts run over a real database; every call of the store waits until the
test lets it happen, so that hypothesis finds, repeats and shrinks races as it does values.
"""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from dispatchd.coordinator.intake import Order
from dispatchd.coordinator.seats import Seat
from dispatchd.core.job import (
    ENDED,
    Completion,
    Fault,
    JobStatus,
    JobType,
    Lease,
    Privacy,
    Tier,
)
from dispatchd.core.limits import Limits
from dispatchd.core.record import Blame
from tests.coordinator.world import ALL_TYPES, Peer, World, key_number

LIMITS = Limits(task_run_seconds=20, llm_run_seconds=45)
USERS = ("ann", "bob")
ABILITIES = (ALL_TYPES, frozenset({JobType.TASK}), frozenset({JobType.LLM_INFER}))
SPOILS = ("hash", "job", "key", "text", "error", "final")

DEEDS = ("commit", "commit", "join", "leave", "claim", "finish", "finish", "fail", "sweep")

PEERS = st.integers(0, 3)
PICKS = st.integers(0, 11)
MOVES = st.none() | st.lists(st.integers(0, 3), max_size=6)


def spoilt(world: World, peer: Peer, lease: Lease, spoil: str) -> Completion:
    """A result that must not complete a job."""
    good = world.result(peer.key, lease.job_id)
    match spoil:
        case "hash":
            return replace(good, output=good.output + " ")
        case "job":
            return world.result(peer.key, "another-job")
        case "key":
            return world.result(key_number(99), lease.job_id)
        case "text":
            return replace(good, receipt=good.receipt[:-1])
        case "final":
            return replace(good, output='{"error":"cannot","final":true}')
    return replace(good, output='{"error":"boom"}')


def holding(machine: "Interleavings") -> bool:
    """Whether some worker that is connected believes to have a job."""
    return bool(machine.held())


class Interleavings(RuleBasedStateMachine):
    """Every rule starts something, and then lets the store make a few moves, or all."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.run(self._start())

    async def _start(self) -> None:
        self.world = World(Path(self.folder.name), LIMITS)
        await self.world.start()
        for peer, user in zip(self.world.peers, USERS, strict=False):
            self.world.spawn(self.world.pair(user, peer))
        await self.world.rest()
        for peer in self.world.peers[:3]:
            self.world.spawn(self.world.join(peer, mentions=False))
        await self.world.rest()

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        self.runner.run(step)

    def act(self, verb: Coroutine[Any, Any, None], moves: list[int] | None) -> None:
        async def spawn_and_go() -> None:
            self.world.spawn(verb)
            await self.world.go(moves)

        self.run(spawn_and_go())

    def held(self) -> list[tuple[Peer, Seat, Lease]]:
        """What workers that are connected believe to have."""
        return [
            (peer, peer.seat, lease)
            for peer in self.world.peers
            if peer.seat is not None
            for lease in peer.running.values()
        ]

    @rule(
        job_type=st.sampled_from(JobType),
        tier=st.sampled_from(Tier),
        privacy=st.sampled_from(Privacy),
        user=st.sampled_from(USERS),
        count=st.integers(1, 3),
        moves=MOVES,
    )
    def commit(
        self,
        job_type: JobType,
        tier: Tier,
        privacy: Privacy,
        user: str,
        count: int,
        moves: list[int] | None,
    ) -> None:
        for _ in range(count - 1):
            self._commit(Order(job_type, tier, privacy, user, "{}"), None, [])
        self._commit(Order(job_type, tier, privacy, user, "{}"), None, moves)

    @rule(user=st.sampled_from(USERS), key=st.sampled_from("kl"), moves=MOVES)
    def commit_with_a_key(self, user: str, key: str, moves: list[int] | None) -> None:
        order = Order(JobType.TASK, Tier.FAST, Privacy.PUBLIC, user, "{}", fingerprint=key)
        self._commit(order, key, moves)

    def _offer(self, peer: Peer, moves: list[int] | None) -> None:
        async def claim_and_go() -> None:
            self.world.claim(peer)
            await self.world.go(moves)

        self.run(claim_and_go())

    def _commit(self, order: Order, key: str | None, moves: list[int] | None) -> None:
        self.committed = getattr(self, "committed", 0) + 1
        self.act(self.world.submit(order, f"job-{self.committed}", key), moves)

    @rule(user=st.sampled_from(USERS), number=PEERS, moves=MOVES)
    def pair(self, user: str, number: int, moves: list[int] | None) -> None:
        self.act(self.world.pair(user, self.world.peers[number]), moves)

    @rule(
        number=PEERS,
        abilities=st.sampled_from(ABILITIES),
        places=st.integers(1, 3),
        mentions=st.booleans(),
        prove=st.sampled_from((True, True, False)),
        moves=MOVES,
    )
    def join(
        self,
        number: int,
        abilities: frozenset[JobType],
        places: int,
        mentions: bool,
        prove: bool,
        moves: list[int] | None,
    ) -> None:
        peer = self.world.peers[number]
        if not peer.joining:
            peer.job_types, peer.places = abilities, places
            self.act(self.world.join(peer, mentions=mentions, prove=prove), moves)

    @rule(number=PEERS, moves=MOVES)
    def leave(self, number: int, moves: list[int] | None) -> None:
        async def leave_and_go() -> None:
            self.world.leave(self.world.peers[number])
            await self.world.go(moves)

        self.run(leave_and_go())

    @rule(number=PEERS, moves=MOVES)
    def claim(self, number: int, moves: list[int] | None) -> None:
        self._offer(self.world.peers[number], moves)

    @precondition(holding)
    @rule(pick=PICKS, moves=MOVES)
    def progress(self, pick: int, moves: list[int] | None) -> None:
        _, seat, lease = self._pick(pick)
        self.act(self.world.progress(seat, lease), moves)

    @precondition(holding)
    @rule(pick=PICKS, again=st.booleans(), moves=MOVES)
    def finish(self, pick: int, again: bool, moves: list[int] | None) -> None:
        peer, seat, lease = self._pick(pick)
        done = self.world.result(peer.key, lease.job_id)
        self.act(self.world.finish(seat, lease, done, good=True), moves)
        self._answered(peer, lease, again)

    @precondition(holding)
    @rule(pick=PICKS, spoil=st.sampled_from(SPOILS), moves=MOVES)
    def finish_badly(self, pick: int, spoil: str, moves: list[int] | None) -> None:
        peer, seat, lease = self._pick(pick)
        done = spoilt(self.world, peer, lease, spoil)
        self.act(self.world.finish(seat, lease, done, good=False), moves)
        self._answered(peer, lease, again=True)

    @precondition(holding)
    @rule(
        pick=PICKS,
        blame=st.sampled_from((Blame.FAILED, Blame.REJECTED)),
        final=st.booleans(),
        moves=MOVES,
    )
    def fail(self, pick: int, blame: Blame, final: bool, moves: list[int] | None) -> None:
        peer, seat, lease = self._pick(pick)
        self.act(self.world.fail(seat, lease, Fault("boom", blame, final=final)), moves)
        self._answered(peer, lease, again=True)

    @precondition(lambda self: any(peer.former or peer.running for peer in self.world.peers))
    @rule(number=PEERS, pick=PICKS, moves=MOVES)
    def finish_late(self, number: int, pick: int, moves: list[int] | None) -> None:
        """With a lease from before, or one that somebody else has."""
        peer = self.world.peers[number]
        others = [lease for other in self.world.peers for lease in other.running.values()]
        leases = peer.former + others
        if leases and peer.seat is not None:
            lease = leases[pick % len(leases)]
            done = self.world.result(peer.key, lease.job_id)
            self.act(self.world.finish(peer.seat, lease, done, good=True), moves)

    @rule(seconds=st.sampled_from((1, 6, 12, 31, 46)), alive=st.sampled_from((True, True, False)))
    def time_passes(self, seconds: int, alive: bool) -> None:
        self.run(self.world.pass_time(seconds, hop=1 if seconds < 10 else 6, alive=alive))

    @rule(seconds=st.sampled_from((0, 1, 11, 31)), moves=MOVES)
    def sweep(self, seconds: int, moves: list[int] | None) -> None:
        async def sweep_and_go() -> None:
            self.world.clock.advance(seconds)
            self.world.sweep()
            await self.world.go(moves)

        self.run(sweep_and_go())

    @rule(flushed=st.booleans())
    def kill(self, flushed: bool) -> None:
        self.run(self._restart(flushed=flushed))

    @rule(grace=st.sampled_from((0, 20)), moves=MOVES)
    def drain(self, grace: float, moves: list[int] | None) -> None:
        if not self.world.draining:
            self.act(self.world.drain(grace), moves)

    @rule(
        deeds=st.lists(st.tuples(st.sampled_from(DEEDS), PEERS, PICKS), min_size=2, max_size=8),
        pace=st.integers(0, 2),
        moves=MOVES,
    )
    def at_once(
        self, deeds: list[tuple[str, int, int]], pace: int, moves: list[int] | None
    ) -> None:
        """Many things begin before the store has answered any of them."""
        for deed, number, pick in deeds:
            self._do(deed, number, pick, [pick + turn for turn in range(pace)])
        self.run(self.world.go(moves))

    def _do(self, deed: str, number: int, pick: int, moves: list[int]) -> None:
        peer = self.world.peers[number]
        match deed:
            case "commit":
                privacy = Privacy.PRIVATE if pick % 4 == 0 else Privacy.PUBLIC
                order = Order(JobType.TASK, Tier.CHEAP, privacy, USERS[pick % 2], "{}")
                self._commit(order, None, moves)
            case "join" if not peer.joining:
                self.act(self.world.join(peer, mentions=pick % 2 == 0), moves)
            case "leave":
                self.leave(number, moves)
            case "claim":
                self._offer(peer, moves)
            case "finish" if self.held():
                peer, seat, lease = self._pick(pick)
                done = self.world.result(peer.key, lease.job_id)
                self.act(self.world.finish(seat, lease, done, good=True), [])
                # The same once more, with another output: only one of them may count.
                self.finish(pick, pick % 3 > 0, moves)
            case "fail" if self.held():
                self.fail(pick, Blame.REJECTED, pick % 5 == 0, moves)
            case "sweep":
                self.sweep(pick, moves)

    @rule(moves=st.lists(st.integers(0, 3), min_size=1, max_size=8))
    def go_on(self, moves: list[int]) -> None:
        self.run(self.world.go(moves))

    def teardown(self) -> None:
        try:
            self.run(self._all_jobs_end())
        finally:
            self.run(self.world.kill(flushed=False))
            self.world.ledger.close()
            self.runner.close()
            self.folder.cleanup()

    def _pick(self, pick: int) -> tuple[Peer, Seat, Lease]:
        held = self.held()
        return held[pick % len(held)]

    def _answered(self, peer: Peer, lease: Lease, again: bool) -> None:
        """The worker has done with a lease, whatever has come of it."""
        if peer.running.get(lease.job_id) == lease:
            del peer.running[lease.job_id]
            peer.former.append(lease)
        if again:
            self._offer(peer, [])

    async def _restart(self, *, flushed: bool) -> None:
        await self.world.kill(flushed=flushed)
        await self.world.start()

    async def _all_jobs_end(self) -> None:
        """With one able worker whom everybody trusts, every job ends, and none was lost."""
        world = self.world
        if world.draining:
            world.clock.advance(20)
            await world.rest()
            await self._restart(flushed=True)
        await world.rest()
        helper = Peer(key_number(9), places=4)
        world.peers.append(helper)
        for user in USERS:
            world.spawn(world.pair(user, helper))
        await world.rest()
        world.spawn(world.join(helper, mentions=False))
        await world.rest()
        for _ in range(200):
            await self._help(helper)
            if all(row["status"] in ENDED for row in world.ledger.rows.values()):
                break
            assert helper.seat is not None
            world.parts.work.heard(helper.seat)
            await world.pass_time(1, hop=1, alive=False)
        self._look_at_the_end()

    async def _help(self, helper: Peer) -> None:
        """Answers until there is nothing to do."""
        while helper.running:
            for lease in list(helper.running.values()):
                assert helper.seat is not None
                done = self.world.result(helper.key, lease.job_id)
                verb = self.world.finish(helper.seat, lease, done, good=True)
                self.world.spawn(verb)
                del helper.running[lease.job_id]
            await self.world.rest()
            self.world.claim(helper)
            await self.world.rest()

    def _look_at_the_end(self) -> None:
        rows = self.world.ledger.rows
        hanging = [row for row in rows.values() if row["status"] not in ENDED]
        assert not hanging, f"these never end: {hanging}"
        assert self.world.acknowledged <= rows.keys()
        completed = [row for row in rows.values() if row["status"] == JobStatus.COMPLETED]
        assert self.world.ledger.completed_by_record() == len(completed)


Interleavings.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    report_multiple_bugs=False,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# Shrinking takes minutes; when all is well, this takes seconds.
TestInterleavings = pytest.mark.timeout(600)(Interleavings.TestCase)
