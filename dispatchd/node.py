"""The composition root: chooses the implementations, builds the parts, runs them together."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp
from msgspec import Struct

from dispatchd import __version__, garbage
from dispatchd.api.access import KeyRules
from dispatchd.api.app import Edge, Instruments, Market
from dispatchd.api.relay import HttpRelay
from dispatchd.config import NetworkConfig, RemoteWorkerConfig, RunConfig, WorkerConfig
from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.chain import Chain, open_chain
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.intake import Intake, Sales
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.neighbours import Neighbours, Relay
from dispatchd.coordinator.proofs import Proofs
from dispatchd.coordinator.recent import Recent
from dispatchd.coordinator.seated import SeatedWorker
from dispatchd.coordinator.seats import Seats
from dispatchd.coordinator.sweep import Sweep
from dispatchd.coordinator.users import Users
from dispatchd.coordinator.work import Work
from dispatchd.core.address import host_of, url_here
from dispatchd.core.clock import Clock, SystemClock
from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.core.job import JobType
from dispatchd.core.limits import Limits
from dispatchd.crew import Crew, hire
from dispatchd.engine.observer import UNOBSERVED, EngineObserver
from dispatchd.feed import Feed, Journal, Journals
from dispatchd.metrics.metrics import Metrics
from dispatchd.metrics.state import Scene
from dispatchd.store import PaymentStore
from dispatchd.store.sql.store import SqlStore
from dispatchd.stores import open_store
from dispatchd.worker.backend.executor import open_backend
from dispatchd.worker.dial import Dialler, coordinator_url
from dispatchd.worker.opening import still_opening
from dispatchd.worker.pairing import claim_code
from dispatchd.worker.remote import RemoteCoordinator

if TYPE_CHECKING:  # a node without payments loads nothing of them
    from dispatchd.selling import Notice, Shop

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

_SIGNAL_EXIT = 128

Part = Callable[[], Coroutine[Any, Any, None]]
_T = TypeVar("_T")


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
        sweep = Sweep(store.jobs, seats, matching, admission, work, feed, clock, limits)
        sales = None if shop is None else shop.sales(matching, feed, owed)
        intake = Intake(store.jobs, seats, proofs, matching, feed, clock, limits, sales)
        users = Users(store.users, clock, limits)
        neighbours = None
        if relay is not None and store.cluster is not None:
            neighbours = Neighbours(
                *(store.cluster, store.jobs, seats, matching, admission, proofs, feed, users),
                *(chain.key, relay, clock),
            )
        coordinator = Coordinator(
            intake,
            store.jobs,
            store.payments,
            store.trust,
            store.records,
            seats,
            matching,
            work,
            proofs,
            feed,
            users,
            recent,
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
            parts.append(self.neighbours.listen)
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


def run_until_stopped(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs a node on the fastest event loop there is; SIGINT and SIGTERM set the event."""
    factory = None if uvloop is None else uvloop.new_event_loop

    async def with_signals() -> None:
        stop = asyncio.Event()
        with _signals_setting(stop):
            await main(stop)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(with_signals())
    if still_opening():  # inside ONNX Runtime, which breaks if the program is torn down around it
        sys.stdout.flush()
        os._exit(0)


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
            worker = _hired(config.worker, clock, config.limits, metrics.engine)
            hiring = running.enter_async_context(worker)
            if (crew := await _unless_stopped(hiring, stop)) is None:
                return
        branches = [
            await running.enter_async_context(_branch(each, config, crew, clock, metrics))
            for each in config.networks
        ]
        await running.enter_async_context(_together([metrics.watch_loop]))
        garbage.keep_all()
        served = tuple(branch.served for branch in branches)
        announce(Running(__version__, config, served, crew))
        async with _opening(crew, announce_model, stop):
            await stop.wait()
            await asyncio.gather(
                *(branch.parts.drain(branch.edge, config.grace_seconds) for branch in branches)
            )


@asynccontextmanager
async def _hired(
    config: WorkerConfig, clock: Clock, limits: Limits, observer: EngineObserver = UNOBSERVED
) -> AsyncIterator[Crew]:
    async with AsyncExitStack() as opened:
        backend = None
        if config.backend is not None and JobType.LLM_INFER in config.capabilities:
            asked = config.backend
            opening = open_backend(asked.address, asked.model, clock, limits, observer)
            backend = await opened.enter_async_context(opening)
        crew = await asyncio.to_thread(hire, config, backend, observer)
        opened.callback(crew.close)
        yield crew


async def _unless_stopped(work: Coroutine[Any, Any, _T], stop: asyncio.Event) -> _T | None:
    """What comes of the work; None where it was not done when `stop` was set, and so was ended."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working})


@asynccontextmanager
async def _opening(
    crew: Crew | None, announce_model: Callable[[str], None], stop: asyncio.Event
) -> AsyncIterator[None]:
    """Says when the language model is there; if it cannot be had, stops the node and raises why."""

    async def open_model(crew: Crew) -> None:
        try:
            words = await crew.open()
            garbage.keep_what_is_used()
            if words is not None:
                announce_model(words)
        except BaseException:
            stop.set()
            raise

    if crew is None:
        yield
        return
    opening = asyncio.create_task(open_model(crew))
    try:
        yield
    finally:
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening


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
            opening = selling.open_shop(network.payments, store, clock, config.limits)
            shop = await opened.enter_async_context(opening)
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
            _together([*parts, *_among_others(here, network, config.host, port)]),
            _together(places),  # ends first: nobody may claim a job for a seat that has been left
        ):
            notice = None if shop is None else shop.notice
            yield Branch(Served(network, port, here.chain.coordinator_key, notice), here, edge)


def _among_others(here: Coordination, network: NetworkConfig, host: str, port: int) -> list[Part]:
    """What runs where other coordinators share the store."""
    if here.neighbours is None:
        return []
    return [partial(here.neighbours.run, network.advertise or url_here(host, port))]


async def run_worker(
    config: RemoteWorkerConfig,
    announce: Callable[[Crew], None],
    announce_model: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Runs a worker for a far coordinator until `stop`; it connects once its model is there.

    A coordinator sends jobs to whoever has registered for them, so they would wait for the model
    here while others could do them. Raises as `run_node` does.
    """
    clock = SystemClock()
    urls = [coordinator_url(address) for address in config.coordinators]
    async with AsyncExitStack() as running:
        hiring = running.enter_async_context(_hired(config.worker, clock, config.limits))
        if (crew := await _unless_stopped(hiring, stop)) is None:
            return
        source = RemoteCoordinator(Dialler(urls, clock), lambda: crew.card, crew.key, clock)
        parts: list[Part] = [
            partial(_once_opened, crew, source.run),
            partial(crew.work, source, clock),
        ]
        if config.trust_code is not None:
            code = config.trust_code
            parts.append(partial(claim_code, urls, code, crew.key, clock))
        async with _together(parts):
            announce(crew)
            async with _opening(crew, announce_model, stop):
                await stop.wait()
                await source.drain(config.grace_seconds)


async def _once_opened(crew: Crew, part: Part) -> None:
    await crew.opened()
    await part()


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


@asynccontextmanager
async def _together(parts: list[Part]) -> AsyncIterator[None]:
    """Runs the parts while the body runs; if one of them dies, so does the node."""
    unusable = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part()) for part in parts]
        try:
            yield
        except Unusable as error:  # one sentence, which need not come in a group
            unusable = error
        finally:
            for task in tasks:
                task.cancel()
    if unusable is not None:
        raise unusable


@contextmanager
def _signals_setting(stop: asyncio.Event) -> Iterator[None]:
    """The first signal sets the event; the second ends the process at once."""
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            os._exit(_SIGNAL_EXIT + number)
        loop.call_soon_threadsafe(stop.set)

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
