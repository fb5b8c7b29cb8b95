"""Makes a crew from a worker's options, and has it open its models while others work already."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module

from dispatchd import __version__, garbage
from dispatchd.config import WorkerConfig
from dispatchd.core.card import Slots, WorkerCard
from dispatchd.core.clock import Clock
from dispatchd.core.job import JobType
from dispatchd.core.limits import Limits
from dispatchd.crew import TASK_DEVICE, Crew, Language, Tasks
from dispatchd.engine import Device
from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, DEFAULT_SUMMARIZER, find
from dispatchd.engine.cuda import find_gpu
from dispatchd.engine.library import Library
from dispatchd.engine.observer import UNOBSERVED, EngineObserver
from dispatchd.engine.use import take
from dispatchd.engine.wanted import look_for
from dispatchd.worker.backend.executor import DEFAULT_SLOTS, BackendExecutor, open_backend
from dispatchd.worker.keyfile import load_or_create

# Tasks take milliseconds; a place is also held while a result is stored, and classify jobs share
# a run with those beside them. More than this gains little, and keeps jobs from other workers.
TASK_SLOTS = 16
_LLM = JobType.LLM_INFER


@asynccontextmanager
async def hired(
    config: WorkerConfig, clock: Clock, limits: Limits, observer: EngineObserver = UNOBSERVED
) -> AsyncIterator[Crew]:
    """A crew, once the backend answers, if it works through one; raises as `hire` does."""
    async with AsyncExitStack() as opened:
        backend = None
        if config.backend is not None and JobType.LLM_INFER in config.capabilities:
            asked = config.backend
            opening = open_backend(asked.address, asked.model, clock, limits, observer)
            backend = await opened.enter_async_context(opening)
        crew = await asyncio.to_thread(hire, config, backend, observer)
        opened.callback(crew.close)
        yield crew


@asynccontextmanager
async def opening(
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
    task = asyncio.create_task(open_model(crew))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def hire(
    config: WorkerConfig,
    backend: BackendExecutor | None = None,
    observer: EngineObserver = UNOBSERVED,
) -> Crew:
    """Takes the key and finds the models, of which none is loaded yet.

    `observer` is told how the language model does; a backend takes its place. Raises `Unusable`
    where one of them cannot be had, as far as that can be told at once.
    """
    key, lock = load_or_create(config.key_path)
    takes_llm, takes_tasks = (kind in config.capabilities for kind in (_LLM, JobType.TASK))
    language = _language(config) if takes_llm and backend is None else None
    tasks = _tasks(config) if takes_tasks else None
    served: tuple[str, ...] = ()
    device: str | None = TASK_DEVICE
    slots: list[Slots] = []
    if backend is not None:
        served, device = (backend.model,), "backend"
        slots.append(Slots(frozenset({_LLM}), config.slots or DEFAULT_SLOTS))
    if language is not None:
        served, device = (language.wanted.name,), None
        slots.append(Slots(frozenset({_LLM}), language.jobs))
    if tasks is not None:
        slots.append(Slots(frozenset({JobType.TASK}), TASK_SLOTS))
    card = WorkerCard(
        provider_pubkey=key.public_hex,
        provider_type=config.provider_type,
        slots=tuple(slots),
        version=__version__,
        models=served,
        device=device,
    )
    return Crew(key, lock, card, backend, language, tasks, observer)


def _language(config: WorkerConfig) -> Language:
    library = Library(config.models_dir)
    wanted = look_for(library, config.model, config.precision, _working_device)
    use = take(library.home, wanted.name) if library.holds(wanted.folder) else None
    return Language(library, wanted, config.slots or wanted.slots, use)


def _tasks(config: WorkerConfig) -> Tasks:
    by_model = config.classifier == "model"
    classifier = find(DEFAULT_CLASSIFIER).path if by_model else None
    return Tasks(find(DEFAULT_SUMMARIZER).path, classifier)


def _working_device() -> Device:
    if find_gpu() is None:  # and nothing need be loaded to try it
        return "cpu"
    device: Device = import_module("dispatchd.engine.provider").working_device()
    return device
