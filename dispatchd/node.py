"""The composition root: chooses the implementations, builds the parts, runs them together."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Self

import aiohttp
from msgspec import Struct

from dispatchd import __version__, garbage
from dispatchd.api.access import KeyRules
from dispatchd.api.app import Edge, Instruments, Market
from dispatchd.api.relay import HttpRelay
from dispatchd.config import NetworkConfig, RunConfig
from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.chain import Chain, open_chain
from dispatchd.coordinator.contact import Contact
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.elsewhere import Elsewhere
from dispatchd.coordinator.intake import Intake, Sales
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.neighbours import Neighbours, Relay
from dispatchd.coordinator.overview import Overview
from dispatchd.coordinator.proofs import Proofs
from dispatchd.coordinator.recent import Recent
from dispatchd.coordinator.sealing import Sealing
from dispatchd.coordinator.seated import SeatedWorker
from dispatchd.coordinator.seats import Seats
from dispatchd.coordinator.sweep import Sweep
from dispatchd.coordinator.users import Users
from dispatchd.coordinator.work import Work
from dispatchd.core.address import host_of, url_here
from dispatchd.core.clock import Clock, SystemClock
from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.core.limits import Limits
from dispatchd.crew import Crew
from dispatchd.feed import Feed, Journal, Journals
from dispatchd.hiring import hired, opening
from dispatchd.loop import Part, together, unless_stopped
from dispatchd.metrics.metrics import Metrics
from dispatchd.metrics.state import Scene
from dispatchd.store import PaymentStore
from dispatchd.store.sql.store import SqlStore
from dispatchd.stores import open_store

if TYPE_CHECKING:  # a node without payments loads nothing of them
    from dispatchd.selling import Notice, Shop

log = logging.getLogger(__name__)


class Coordination(Struct, frozen=True):
    """A coordinator's parts over one store."""

    seats: Seats
    coordinator: Coordinator
    admission: Admission
    work: Work
    matching: Matching
    sweep: Sweep
    feed: Feed
    sales: Sales | None
    payments: PaymentStore
    chain: Chain
    neighbours: Neighbours | None
    clock: Clock

    @classmethod
    def over(
        cls,
        store: SqlStore,
        chain: Chain,
        clock: Clock,
        limits: Limits,
        shop: "Shop | None" = None,
        journals: Sequence[Journal] = (),
        relay: Relay | None = None,
    ) -> Self:
        """Builds the parts; with a shop, jobs are sold. The journals hear of all that happens.

        A store that others share takes a `relay`, which brings their workers' live text.
        """
        stirred = asyncio.Event()
        seats = Seats(stirred)
        recent = Recent(clock)
        feed = Feed(limits.watchers_max, Journals([recent, *journals]), stirred)
        owed = asyncio.Event()
        matching = Matching(store.jobs, seats, feed, clock, limits)
        proofs = Proofs(seats, matching, clock, limits)
        work = Work(store.jobs, store.records, seats, matching, proofs, feed, clock, limits, owed)
        admission = Admission(
            *(store.jobs, store.trust, seats, matching, proofs, work, feed, clock, limits)
        )
        contact = Contact(clock, limits.renew_seconds)
        sweep = Sweep(
            *(store.jobs, seats, matching, admission, work, feed, clock, limits),
            None if relay is None else contact,
        )
        sales = None if shop is None else shop.sales(matching, feed, owed)
        intake = Intake(store.jobs, seats, proofs, matching, feed, clock, limits, sales)
        users = Users(store.users, clock, limits)
        neighbours = elsewhere = None
        if relay is not None and store.cluster is not None and store.seals is not None:
            sealing = Sealing(store.seals, chain.key, clock)
            neighbours = Neighbours(
                *(store.cluster, store.jobs, store.records, seats, matching, admission, proofs),
                *(feed, users, sealing, contact, chain.key, relay, clock),
            )
            elsewhere = Elsewhere(neighbours, seats, matching, recent, clock)
        overview = Overview(
            *(seats, matching, store.records, feed, recent, clock, limits, elsewhere)
        )
        coordinator = Coordinator(
            intake,
            store.jobs,
            store.payments,
            store.trust,
            seats,
            matching,
            work,
            proofs,
            feed,
            users,
            overview,
            clock,
            limits,
            neighbours,
        )
        return cls(
            seats=seats,
            coordinator=coordinator,
            admission=admission,
            work=work,
            matching=matching,
            sweep=sweep,
            feed=feed,
            sales=sales,
            payments=store.payments,
            chain=chain,
            neighbours=neighbours,
            clock=clock,
        )

    @property
    def running(self) -> "list[Part]":
        """What must run for as long as the coordinator does."""
        parts: list[Part] = [self.matching.run, self.sweep.run]
        if self.sales is not None:
            parts += [self.sales.till.run, self.sales.captures.run]
        if self.neighbours is not None:
            parts += [self.neighbours.listen, self.neighbours.sealing.run]
            parts.append(self.coordinator.overview.run)
        return parts

    async def prepare(self) -> None:
        """Before anything can be committed: looks at what a former process left."""
        await self.coordinator.users.prepare()
        await self.matching.prepare()
        if self.neighbours is not None:
            await self.neighbours.prepare()
        left = await self.payments.recover(self.clock.now())
        if left and self.sales is None:
            log.warning(
                "%d %s of a former run cannot be settled: start once with its payment options",
                left,
                "payment" if left == 1 else "payments",
            )

    async def drain(self, edge: Edge, grace_seconds: float) -> None:
        """Takes no more jobs, lets running ones finish in time and puts the others back."""
        self.coordinator.stop()
        await edge.tell_stopping()
        await self.work.let_finish(grace_seconds)
        if self.sales is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.sales.captures.settled(), grace_seconds)
        self.feed.close()
        if self.neighbours is not None:
            await self.neighbours.sealing.catch_up()
            await self.neighbours.withdraw()


class Served(Struct, frozen=True):
    """What is said of a network that is being served, with the port that it got."""

    config: NetworkConfig
    port: int
    coordinator_key: str
    notice: "Notice | None"


class Running(Struct, frozen=True):
    """What a started node says of itself."""

    version: str
    config: RunConfig
    networks: tuple[Served, ...]
    crew: Crew | None


class Branch(Struct, frozen=True):
    """The parts of a network that is being served."""

    served: Served
    parts: Coordination
    edge: Edge


async def run_node(
    config: RunConfig,
    announce: Callable[[Running], None],
    announce_model: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Runs a coordinator for each network, all with the same worker if any, until `stop`.

    Jobs are taken before the worker's model is there. Raises `Unusable`, also later where it turns
    out that the model cannot be had.
    """
    clock, metrics = SystemClock(), Metrics()
    async with AsyncExitStack() as running:
        crew = None
        if config.worker is not None:
            worker = hired(config.worker, clock, config.limits, metrics.engine)
            hiring = running.enter_async_context(worker)
            if (crew := await unless_stopped(hiring, stop)) is None:
                return
        branches = [
            await running.enter_async_context(_branch(each, config, crew, clock, metrics))
            for each in config.networks
        ]
        await running.enter_async_context(together([metrics.watch_loop]))
        garbage.keep_all()
        served = tuple(branch.served for branch in branches)
        announce(Running(__version__, config, served, crew))
        async with opening(crew, announce_model, stop):
            await stop.wait()
            await asyncio.gather(
                *(branch.parts.drain(branch.edge, config.grace_seconds) for branch in branches)
            )


@asynccontextmanager
async def _branch(
    network: NetworkConfig, config: RunConfig, crew: Crew | None, clock: Clock, metrics: Metrics
) -> AsyncIterator[Branch]:
    """One network: its store, its coordinator, its port, and the worker's seat there."""
    async with AsyncExitStack() as opened:
        name = network.network.caip2
        opening_store = open_store(network, metrics.commits_of(name))
        store = await opened.enter_async_context(opening_store)
        shop = None
        if network.payments is not None:
            selling = import_module("dispatchd.selling")  # with all that payments need
            opening_shop = selling.open_shop(network.payments, store, clock, config.limits)
            shop = await opened.enter_async_context(opening_shop)
        relay = None
        if network.store is not None:
            relay = HttpRelay(await opened.enter_async_context(aiohttp.ClientSession()))
        journal = metrics.jobs_of(name, clock)
        here = await _prepared(store, network, config.limits, clock, shop, journal, relay)
        sells = None if shop is None else store.payments
        metrics.show(Scene(name, here.seats, here.matching), sells)
        parts, places = here.running, list[Part]()
        if crew is not None:
            source = SeatedWorker(
                here.admission, here.work, lambda: crew.card, clock, config.limits
            )
            parts.append(source.run)
            places.append(partial(crew.work, source, clock))
        market = Market() if shop is None else shop.market
        edge = Edge(
            here.coordinator,
            here.admission,
            here.work,
            here.chain,
            network.network,
            clock,
            config.limits,
            market,
            KeyRules(required=config.require_keys, open=config.testnet and not config.require_keys),
            None if network.public_url is None else host_of(network.public_url),
            Instruments(metrics.text) if crew is None else Instruments(metrics.text, crew.states),
        )
        async with (
            edge.listening(config.host, network.port) as port,
            together([*parts, *_among_others(here, network, config.host, port)]),
            together(places),  # ends first: nobody may claim a job for a seat that has been left
        ):
            notice = None if shop is None else shop.notice
            yield Branch(Served(network, port, here.chain.coordinator_key, notice), here, edge)


def _among_others(here: Coordination, network: NetworkConfig, host: str, port: int) -> list[Part]:
    """What runs where other coordinators share the store."""
    if here.neighbours is None:
        return []
    return [partial(here.neighbours.run, network.advertise or url_here(host, port))]


async def _prepared(
    store: SqlStore,
    network: NetworkConfig,
    limits: Limits,
    clock: Clock,
    shop: "Shop | None",
    journal: Journal,
    relay: Relay | None,
) -> Coordination:
    """A coordinator's parts, once they have looked at what a former process left."""
    try:
        chain = await open_chain(store.chain, network.database)
        here = Coordination.over(store, chain, clock, limits, shop, (journal,), relay)
        await here.prepare()
    except StoreUnavailable as error:
        raise Unusable(str(error)) from None
    return here
