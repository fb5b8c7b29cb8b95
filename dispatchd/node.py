"""The composition root: chooses the implementations, builds the parts, runs them together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import aiohttp
from msgspec import Struct

from dispatchd import __version__, garbage
from dispatchd.api.access import KeyRules
from dispatchd.api.app import Edge, Instruments, Market
from dispatchd.api.relay import HttpRelay
from dispatchd.config import NetworkConfig, RunConfig
from dispatchd.coordination import Coordination
from dispatchd.coordinator.chain import open_chain
from dispatchd.coordinator.neighbours import Relay
from dispatchd.coordinator.seated import SeatedWorker
from dispatchd.core.address import host_of, url_here
from dispatchd.core.clock import Clock, SystemClock
from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.core.limits import Limits
from dispatchd.crew import Crew
from dispatchd.feed import Journal
from dispatchd.hiring import hired, opening
from dispatchd.loop import Part, together, unless_stopped
from dispatchd.metrics.metrics import Metrics
from dispatchd.metrics.state import Scene
from dispatchd.store.sql.store import SqlStore
from dispatchd.stores import open_store

if TYPE_CHECKING:  # a node without payments loads nothing of them
    from dispatchd.selling import Notice, Shop

log = logging.getLogger(__name__)


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
        source, places = None, list[Part]()
        if crew is not None:
            source = SeatedWorker(
                here.admission, here.work, lambda: crew.card, clock, config.limits
            )
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
            _seated(source),
            edge.listening(config.host, network.port) as port,
            together([*here.running, *_among_others(here, network, config.host, port)]),
            together(places),  # ends first: nobody may claim a job for a seat that has been left
        ):
            notice = None if shop is None else shop.notice
            yield Branch(Served(network, port, here.chain.coordinator_key, notice), here, edge)


@asynccontextmanager
async def _seated(source: SeatedWorker | None) -> AsyncIterator[None]:
    """The own worker's seat, for which PRIVATE jobs are taken from the first answer on."""
    if source is None:
        yield
        return
    async with together([source.run]):
        await source.tried()
        yield


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
