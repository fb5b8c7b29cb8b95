"""The composition root: chooses the implementations, builds the parts, runs them together."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock
from msgspec import Struct

from dispatchd import __version__
from dispatchd.api.app import Edge, Market
from dispatchd.config import NetworkConfig, RemoteWorkerConfig, RunConfig, WorkerConfig
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.intake import Intake, Sales
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.seats import Seats
from dispatchd.coordinator.sweep import Sweep
from dispatchd.coordinator.work import SeatedWorker, Work
from dispatchd.core.card import Slots, WorkerCard
from dispatchd.core.clock import Clock, SystemClock
from dispatchd.core.errors import StoreUnavailable, Unusable
from dispatchd.core.job import JobType
from dispatchd.core.keys import WorkerKey
from dispatchd.core.limits import Limits
from dispatchd.engine.catalog import (
    DEFAULT_CLASSIFIER,
    DEFAULT_SUMMARIZER,
    ModelCard,
    find,
    is_embedded,
)
from dispatchd.engine.classifier import load_classifier
from dispatchd.engine.library import Library
from dispatchd.engine.load import default_slots, load_language_model
from dispatchd.engine.salience import load_salience
from dispatchd.feed import Feed
from dispatchd.store import PaymentStore
from dispatchd.store.sqlite.store import SqliteStore, open_sqlite
from dispatchd.worker import Executor
from dispatchd.worker.dial import Dialler, coordinator_url
from dispatchd.worker.keyfile import load_or_create
from dispatchd.worker.llm import LlmExecutor
from dispatchd.worker.pairing import claim_code
from dispatchd.worker.remote import RemoteCoordinator
from dispatchd.worker.task import TaskExecutor
from dispatchd.worker.tasks.classify import classify
from dispatchd.worker.tasks.extract_json import extract_json
from dispatchd.worker.tasks.summarize import summarize
from dispatchd.worker.worker import Worker

if TYPE_CHECKING:  # a node without payments loads nothing of them
    from dispatchd.selling import Notice, Shop

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

TASK_SLOTS = 4
_SIGNAL_EXIT = 128
_LARGE_MODEL_BYTES = 64 * 1024 * 1024
_OBJECTS_BETWEEN_COLLECTIONS = 20_000

Part = Callable[[], Coroutine[Any, Any, None]]


class Crew(Struct, frozen=True):
    """A worker's parts, ready to run: its key, what it can do, and how to describe it."""

    key: WorkerKey
    lock: FileLock
    card: WorkerCard
    executors: dict[JobType, Executor]
    models: tuple[str, ...]


class Coordination(Struct, frozen=True):
    """A coordinator's parts over one store."""

    seats: Seats
    coordinator: Coordinator
    work: Work
    matching: Matching
    sweep: Sweep
    feed: Feed
    sales: Sales | None
    payments: PaymentStore
    clock: Clock

    @classmethod
    def over(
        cls, store: SqliteStore, clock: Clock, limits: Limits, shop: "Shop | None" = None
    ) -> Self:
        """Builds the parts; with a shop, jobs are sold."""
        seats = Seats()
        feed = Feed(limits.watchers_max)
        owed = asyncio.Event()
        matching = Matching(store.jobs, seats, feed, clock, limits)
        work = Work(store.jobs, store.trust, seats, matching, feed, clock, limits, owed)
        sweep = Sweep(store.jobs, seats, matching, work, feed, clock, limits)
        sales = None if shop is None else shop.sales(matching, feed, owed)
        intake = Intake(store.jobs, seats, matching, clock, limits, sales)
        coordinator = Coordinator(
            intake,
            store.jobs,
            store.payments,
            store.trust,
            seats,
            matching,
            work,
            feed,
            clock,
            limits,
        )
        return cls(seats, coordinator, work, matching, sweep, feed, sales, store.payments, clock)

    @property
    def running(self) -> "list[Part]":
        """What must run for as long as the coordinator does."""
        parts: list[Part] = [self.matching.run, self.sweep.run]
        if self.sales is not None:
            parts += [self.sales.till.run, self.sales.captures.run]
        return parts

    async def prepare(self) -> None:
        """Before anything can be committed: looks at what a former process left."""
        await self.matching.prepare()
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


class Branch(Struct, frozen=True):
    """One network that is being served."""

    config: NetworkConfig
    port: int
    parts: Coordination
    edge: Edge
    notice: "Notice | None"


class Running(Struct, frozen=True):
    """What a started node says of itself: each network with the port that it got."""

    version: str
    config: RunConfig
    networks: "tuple[tuple[NetworkConfig, int, Notice | None], ...]"
    crew: Crew | None


def run_until_stopped(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs a node on the fastest event loop there is; SIGINT and SIGTERM set the event."""
    factory = None if uvloop is None else uvloop.new_event_loop

    async def with_signals() -> None:
        stop = asyncio.Event()
        with _signals_setting(stop):
            await main(stop)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(with_signals())


async def run_node(
    config: RunConfig, announce: Callable[[Running], None], stop: asyncio.Event
) -> None:
    """Runs a coordinator for each network, all with the same worker if any, until `stop`."""
    clock = SystemClock()
    crew = await asyncio.to_thread(_hire, config.worker) if config.worker else None
    async with AsyncExitStack() as running:
        branches = [
            await running.enter_async_context(_branch(each, config, crew, clock))
            for each in config.networks
        ]
        addresses = tuple((branch.config, branch.port, branch.notice) for branch in branches)
        _collect_garbage_rarely()
        announce(Running(__version__, config, addresses, crew))
        await stop.wait()
        await asyncio.gather(
            *(branch.parts.drain(branch.edge, config.grace_seconds) for branch in branches)
        )


def _collect_garbage_rarely() -> None:
    """What a started node is made of stays, so Python need not look through it for garbage.

    Jobs leave hardly any cycles behind. By default Python looks for some every 700 objects, a
    few jobs' worth, which was up to a fifth of the time that a busy coordinator took.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


@asynccontextmanager
async def _branch(
    served: NetworkConfig, config: RunConfig, crew: Crew | None, clock: Clock
) -> AsyncIterator[Branch]:
    """One network: its store, its coordinator, its port, and the worker's seat there."""
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(open_sqlite(served.database))
        shop = None
        if served.payments is not None:
            selling = import_module("dispatchd.selling")  # with all that payments need
            opening = selling.open_shop(served.payments, store, clock, config.limits)
            shop = await opened.enter_async_context(opening)
        here = Coordination.over(store, clock, config.limits, shop)
        await _prepared(here)
        parts = here.running
        if crew is not None:
            source = SeatedWorker(here.work, crew.card, clock, config.limits)
            worker = Worker(source, crew.executors, crew.key, clock)
            parts += [source.run, partial(worker.run, crew.card.slots)]
        market = Market() if shop is None else shop.market
        edge = Edge(here.coordinator, here.work, served.network, clock, config.limits, market)
        async with edge.listening(config.host, served.port) as port, _together(parts):
            yield Branch(served, port, here, edge, None if shop is None else shop.notice)


async def run_worker(
    config: RemoteWorkerConfig, announce: Callable[[Crew], None], stop: asyncio.Event
) -> None:
    """Runs a worker for a far coordinator until `stop`."""
    clock = SystemClock()
    url = coordinator_url(config.coordinator)
    crew = await asyncio.to_thread(_hire, config.worker)
    source = RemoteCoordinator(Dialler(url, clock), crew.card, crew.key, clock)
    worker = Worker(source, crew.executors, crew.key, clock)
    parts: list[Part] = [source.run, partial(worker.run, crew.card.slots)]
    if config.trust_code is not None:
        code = config.trust_code
        parts.append(partial(claim_code, url, code, crew.key.public_hex, clock))
    async with _together(parts):
        announce(crew)
        await stop.wait()
        await source.drain(config.grace_seconds)


async def _prepared(here: Coordination) -> None:
    try:
        await here.prepare()
    except StoreUnavailable as error:
        raise Unusable(str(error)) from None


def _hire(config: WorkerConfig) -> Crew:
    """Loads key and models; raises `Unusable` where one of them is broken."""
    key, lock = load_or_create(config.key_path)
    executors: dict[JobType, Executor] = {}
    models: list[str] = []
    slots: list[Slots] = []
    served: tuple[str, ...] = ()
    author: LlmExecutor | None = None
    if JobType.LLM_INFER in config.capabilities:
        card = _runnable(config)
        jobs = config.slots or default_slots(card.path)
        threads = _threads(card.bytes_on_disk, jobs)
        model = load_language_model(card.path, threads=threads, slots=jobs)
        executors[JobType.LLM_INFER] = llm = LlmExecutor(model, jobs)
        author = None if is_embedded(card) else llm  # the embedded one knows too little for it
        served = (model.name,)
        models.append(f"{model.name} on {model.device}")
        slots.append(Slots(frozenset({JobType.LLM_INFER}), jobs))
    if JobType.TASK in config.capabilities:
        salience = load_salience(find(DEFAULT_SUMMARIZER).path)
        classifier = load_classifier(find(DEFAULT_CLASSIFIER).path)
        executors[JobType.TASK] = TaskExecutor(
            {
                "summarize": partial(summarize, salience=salience),
                "classify": partial(classify, classifier=classifier),
                "extract_json": extract_json,
            },
            author,
        )
        models.append(f"{classifier.name} on {classifier.device}")
        slots.append(Slots(frozenset({JobType.TASK}), TASK_SLOTS))
    worker_card = WorkerCard(
        provider_pubkey=key.public_hex,
        provider_type=config.provider_type,
        slots=tuple(slots),
        version=__version__,
        models=served,
    )
    return Crew(key, lock, worker_card, executors, tuple(models))


def _runnable(config: WorkerConfig) -> ModelCard:
    """The model that was asked for; published weights are prepared when they are first used."""
    card = find(config.model, config.models_dir)
    if card.layout != "safetensors":
        return card
    news = iter([f"preparing {card.name}, which is done once"])

    def say_so(_: float) -> None:
        for first in news:
            log.info("%s", first)

    preparing = import_module("dispatchd.engine.preparing")  # with onnx, which nothing else needs
    library = Library(config.models_dir)
    ready: ModelCard = preparing.prepared_once(library, card, "int8", say_so)
    return ready


def _threads(model_bytes: int, slots: int) -> int:
    """Threads for each generation: small models lose more by sharing a step than they gain."""
    if model_bytes < _LARGE_MODEL_BYTES:
        return 1
    return max(1, (os.cpu_count() or 1) // slots)


@asynccontextmanager
async def _together(parts: list[Part]) -> AsyncIterator[None]:
    """Runs the parts while the body runs; if one of them dies, so does the node."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part()) for part in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


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
