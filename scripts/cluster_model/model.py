"""Simulates many coordinators over one PostgreSQL server, event by event, from measured costs.

What stands in for what: a coordinator is one core (its event loop), the server has so many; both
serve in the order of coming. A coordinator has one connection that writes, and whatever arrives
while a transaction is under way goes into its next one. Then it rings where others may wait, one
at a time on the whole server, as PostgreSQL's NOTIFY goes. Each bell is heard by every coordinator,
which looks at the queue and at the jobs that its clients wait for, with a pause after each look. A
job that finds no place where it was committed waits, and all coordinators try to claim it. Workers
come and go, their coordinators say so, and the others learn it.

Left out: the network between the machines, heartbeats, live text, PostgreSQL's vacuum,
checkpoints, replicas, and locks on rows and pages.
"""

import random
import statistics
from collections.abc import Generator
from typing import Any

import simpy
from msgspec import Struct

from scripts.cluster_model.costs import Cost, Costs

_PAUSE_SECONDS = 0.02
_HELD_SECONDS = 0.5
_COUNT_SECONDS = 1.0
_INSURANCE_SECONDS = 5.0
_SEAL_SECONDS = 5.0
_RENEW_SECONDS = 10.0
_OPERATIONS_MAX = 1024
_WARM_SHARE = 0.25

Events = Generator[simpy.Event, Any, None]


class Network(Struct, frozen=True, kw_only=True):
    """How large a network is, and what is asked of it.

    `job_seconds`: how long a job takes at its worker. `away`: the share of jobs whose worker sits
    at another coordinator than the one that took them. `stay_seconds`: how long a worker stays.
    With `clients` there are so many in a closed loop, and otherwise jobs come by themselves.
    """

    coordinators: int
    workers: int
    jobs_per_second: float
    clients: int = 0
    job_seconds: float
    away: float
    stay_seconds: float
    cores: int


class Outcome(Struct, frozen=True):
    """What came of it: the busy share of each part, and how long what clients see took (seconds).

    `uses` are the shares of a coordinator's core and of the server's cores by what they went for.
    """

    coordinator: float
    database: float
    ringing: float
    done_per_second: float
    commit_p50: float
    commit_p99: float
    told_p99: float
    uses: dict[str, Cost]


class Simulation:
    """One network, for some seconds."""

    def __init__(self, network: Network, costs: Costs, seconds: float, seed: int = 0) -> None:
        self.network = network
        self.costs = costs
        self.seconds = seconds
        self.env = simpy.Environment()
        self.random = random.Random(seed)
        self.server = simpy.Resource(self.env, network.cores)
        self.ringing = simpy.Resource(self.env, 1)
        self.used: dict[str, Cost] = {}
        self.rang = 0.0
        self.commits: list[float] = []
        self.told: list[float] = []
        self.done = 0
        self.coordinators = [_Coordinator(self, place) for place in range(network.coordinators)]

    def run(self) -> Outcome:
        """Runs it; the first part, in which it fills, does not count."""
        for coordinator in self.coordinators:
            coordinator.begin()
        warm = self.seconds * _WARM_SHARE
        self.env.run(until=warm)
        self.used, self.rang, self.done = {}, 0.0, 0
        self.commits, self.told = [], []
        self.env.run(until=self.seconds)
        span = self.seconds - warm
        shares = {
            what: Cost(
                cost.coordinator / span / self.network.coordinators,
                cost.database / span / self.network.cores,
            )
            for what, cost in self.used.items()
        }
        return Outcome(
            coordinator=sum(cost.coordinator for cost in shares.values()),
            database=sum(cost.database for cost in shares.values()),
            ringing=self.rang / span,
            done_per_second=self.done / span,
            commit_p50=_percentile(self.commits, 50),
            commit_p99=_percentile(self.commits, 99),
            told_p99=_percentile(self.told, 99),
            uses=shares,
        )

    def spend(self, what: str, cost: Cost, core: simpy.Resource) -> Events:
        """Both parts of a cost: first the coordinator's core, then one of the server's."""
        self.used[what] = self.used.get(what, Cost(0, 0)) + cost
        if cost.coordinator:
            with core.request() as turn:
                yield turn
                yield self.env.timeout(cost.coordinator)
        if cost.database:
            with self.server.request() as turn:
                yield turn
                yield self.env.timeout(cost.database)

    def contest(self, winner: "_Coordinator") -> Events:
        """All that have a free place try to claim a job that waits; one of them gets it."""
        for each in self.coordinators:
            if each is not winner:
                self.env.process(each.claim())
        yield from winner.claim()

    def reach_everybody(self) -> Events:
        """Everybody hears a bell."""
        cost = Cost(0, self.costs.hear.database * len(self.coordinators))
        yield from self.spend("bells", cost, self.coordinators[0].core)
        for coordinator in self.coordinators:
            coordinator.hear()


class _Coordinator:
    """One coordinator, the workers that sit there and the clients that wait there."""

    def __init__(self, simulation: Simulation, place: int) -> None:
        self.simulation = simulation
        self.place = place
        self.env = simulation.env
        self.core = simpy.Resource(self.env, 1)
        self.waiting: list[tuple[str, simpy.Event]] = []
        self.arrived = self.env.event()
        self.to_ring = self.env.event()
        self.rung = self.env.event()
        self.unheard = 0
        self.news = 0
        self.unsealed = 0
        self.watched: dict[simpy.Event, bool] = {}
        self.held = 0

    def begin(self) -> None:
        """Everything that goes on here."""
        network = self.simulation.network
        for part in (self._write(), self._ring(), self._look(), self._seat()):
            self.env.process(part)
        for _ in range(network.clients // network.coordinators):
            self.env.process(self._client())
        if not network.clients:
            rate = network.jobs_per_second / network.coordinators
            self.env.process(self._take_jobs(rate))
            for _ in range(round(rate * network.job_seconds)):
                self.env.process(self._run(self))  # those that run already

    def hear(self) -> None:
        """A bell has rung."""
        self.unheard += 1
        if not self.rung.triggered:
            self.rung.succeed()

    def claim(self) -> Events:
        """Looks for a job that waits, and tries to lease it, once the bell has been heard."""
        yield self.env.timeout(_PAUSE_SECONDS / 2)
        yield from self._spend("claims", self.simulation.costs.claim.of(1))

    def _client(self) -> Events:
        while True:
            yield self.env.process(self._job())

    def _take_jobs(self, rate: float) -> Events:
        while True:
            yield self.env.timeout(self.simulation.random.expovariate(rate))
            self.env.process(self._job())

    def _job(self) -> Events:
        """A job, from its commit until its client has been told."""
        simulation = self.simulation
        began = self.env.now
        away = simulation.random.random() < simulation.network.away
        yield from self._spend("jobs", Cost(simulation.costs.serve, 0))
        yield self.stored("waiting commit" if away else "commit")
        simulation.commits.append(self.env.now - began)
        if away:
            runner = simulation.random.choice(simulation.coordinators)
            yield self.env.process(simulation.contest(runner))
        else:
            runner = self
        yield from self._run(runner)

    def _run(self, runner: "_Coordinator") -> Events:
        """What a worker of some coordinator does, until the client here has been told."""
        simulation = self.simulation
        runner.held += 1
        seconds = simulation.random.expovariate(1 / simulation.network.job_seconds)
        yield self.env.timeout(seconds)
        ended = self.env.now
        told = self.env.event()
        if runner is not self:
            self.watched[told] = False
        yield runner.stored("finish")
        runner.held -= 1
        runner.unsealed += 1
        simulation.done += 1
        if runner is not self:
            self.watched[told] = True
            yield told
        simulation.told.append(self.env.now - ended)

    def stored(self, what: str) -> simpy.Event:
        """Something to be written; happens once it is on disk."""
        done = self.env.event()
        self.waiting.append((what, done))
        if not self.arrived.triggered:
            self.arrived.succeed()
        return done

    def _write(self) -> Events:
        """The line of writes: one transaction after the other."""
        costs = self.simulation.costs
        while True:
            if not self.waiting:
                self.arrived = self.env.event()
                yield self.arrived
            group, self.waiting = self.waiting[:_OPERATIONS_MAX], self.waiting[_OPERATIONS_MAX:]
            kinds = [what for what, _ in group]
            rings = {"finish", "people", "waiting commit"} & set(kinds)
            finishes = kinds.count("finish")
            commits = kinds.count("commit") + kinds.count("waiting commit")
            if commits:
                yield from self._spend("commits", costs.commit.of(commits))
            if finishes:
                yield from self._spend("results", costs.finish.of(finishes))
            yield self.env.timeout(costs.flush_seconds)
            if rings and not self.to_ring.triggered:
                self.to_ring.succeed()
            for _, done in group:
                done.succeed()

    def _ring(self) -> Events:
        """Bells, one after the other; what is to be rung meanwhile is rung once."""
        simulation = self.simulation
        while True:
            yield self.to_ring
            self.to_ring = self.env.event()
            cost = simulation.costs.ring
            yield from self._spend("bells", Cost(cost.coordinator, 0))
            with simulation.ringing.request() as turn:
                yield turn
                began = self.env.now
                yield from self._spend("bells", Cost(0, cost.database))
                simulation.rang += self.env.now - began
            self.env.process(simulation.reach_everybody())

    def _look(self) -> Events:
        """What is done for bells, and after a time without."""
        costs, env = self.simulation.costs, self.env
        counted = held_at = met_at = sealed_at = renewed = self.simulation.random.uniform(-5, 0)
        while True:
            yield self.rung | env.timeout(_INSURANCE_SECONDS)
            self.rung = env.event()
            heard, self.unheard = self.unheard, 0
            yield from self._spend("bells", Cost(costs.hear.coordinator * heard, 0))
            yield from self._spend("looks at the queue", costs.lanes)
            if env.now - counted >= _COUNT_SECONDS:
                counted = env.now
                yield from self._spend("looks at the queue", costs.count)
            if env.now - held_at >= _HELD_SECONDS:
                held_at = env.now
                yield from self._spend("looks at leases", costs.states.of(self.held))
            yield from self._tell()
            if self.news or env.now - met_at >= _INSURANCE_SECONDS:
                met_at = env.now
                learnt, self.news = self.news, 0
                met = costs.meet.of(len(self.simulation.coordinators))
                yield from self._spend("workers", met + costs.learn.each * learnt)
            if env.now - sealed_at >= _SEAL_SECONDS and self.unsealed:
                sealed_at = env.now
                entries, self.unsealed = self.unsealed, 0
                yield from self._spend("signatures", costs.seal.of(entries))
            if env.now - renewed >= _RENEW_SECONDS:
                renewed = env.now
                yield from self._spend("looks at leases", costs.renew.of(self.held))
            yield env.timeout(_PAUSE_SECONDS)

    def _tell(self) -> Events:
        """Clients here learn of jobs that have ended elsewhere."""
        if not self.watched:
            return
        costs = self.simulation.costs
        yield from self._spend("jobs of workers elsewhere", costs.states.of(len(self.watched)))
        ended = [told for told, over in self.watched.items() if over]
        for told in ended:
            yield from self._spend("jobs of workers elsewhere", costs.get)
            del self.watched[told]
            told.succeed()

    def _seat(self) -> Events:
        """Workers that come and go; each is told to all others."""
        simulation, network = self.simulation, self.simulation.network
        here = network.workers / network.coordinators
        while True:
            pause = network.stay_seconds / here / 2
            yield self.env.timeout(simulation.random.expovariate(1 / pause))
            yield from self._spend("workers", simulation.costs.announce.of(here))
            yield self.stored("people")
            for other in simulation.coordinators:
                other.news += 1

    def _spend(self, what: str, cost: Cost) -> Events:
        return self.simulation.spend(what, cost, self.core)


def _percentile(values: list[float], percent: int) -> float:
    """By nearest rank; 0 where there is none."""
    if not values:
        return 0.0
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
