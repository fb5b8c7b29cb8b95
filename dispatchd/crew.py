"""A worker's parts, made from its options: its key, its models, and what carries jobs out."""

import asyncio
import os
from functools import partial
from typing import Literal

from filelock import FileLock
from msgspec import Struct
from msgspec.structs import replace

from dispatchd import __version__
from dispatchd.config import WorkerConfig
from dispatchd.core.card import Slots, WorkerCard
from dispatchd.core.clock import Clock
from dispatchd.core.errors import ExecutionFailed
from dispatchd.core.job import JobType
from dispatchd.core.keys import KeyPair
from dispatchd.engine import Device
from dispatchd.engine.catalog import (
    DEFAULT_CLASSIFIER,
    DEFAULT_SUMMARIZER,
    bytes_in,
    find,
    is_embedded,
)
from dispatchd.engine.classifier import load_classifier
from dispatchd.engine.library import Library
from dispatchd.engine.load import default_slots
from dispatchd.engine.observer import UNOBSERVED, EngineObserver
from dispatchd.engine.provider import working_device
from dispatchd.engine.salience import load_salience
from dispatchd.engine.use import take
from dispatchd.engine.wanted import Wanted, look_for, open_wanted
from dispatchd.worker import Executor, WorkSource
from dispatchd.worker.backend.executor import DEFAULT_SLOTS, BackendExecutor
from dispatchd.worker.gathered import Gathered
from dispatchd.worker.keyfile import load_or_create
from dispatchd.worker.llm import LlmExecutor
from dispatchd.worker.opening import Opening
from dispatchd.worker.task import Task, TaskExecutor
from dispatchd.worker.tasks.classify import classify
from dispatchd.worker.tasks.extract_json import extract_json
from dispatchd.worker.tasks.keywords import classify_by_keywords
from dispatchd.worker.tasks.summarize import summarize
from dispatchd.worker.worker import Worker
from dispatchd.worker.written import Author

# Tasks take milliseconds; a place is also held while a result is stored, and classify jobs share
# a run with those beside them. More than this gains little, and keeps jobs from other workers.
TASK_SLOTS = 16
_TASK_DEVICE: Device = "cpu"
"""What the models of tasks run on, which are small."""
_LARGE_MODEL_BYTES = 64 * 1024 * 1024


class _Language(Struct, frozen=True):
    """The language model that is to be run, and how many jobs at once."""

    library: Library
    wanted: Wanted
    jobs: int
    use: object

    @property
    def words(self) -> str:
        return f"{self.wanted.name} (being prepared)" if self.wanted.weights else self.wanted.name

    def open(self, observer: EngineObserver) -> Opening:
        """Begins to open it, on a thread of its own."""
        threads = _threads(bytes_in(self.wanted.folder), self.jobs)
        opening = partial(
            open_wanted,
            self.library,
            self.wanted,
            threads=threads,
            slots=self.jobs,
            observer=observer,
        )
        return Opening(opening)


class Crew:
    """A worker's parts: its key, what it can do, and what carries that out.

    Its language model may still be on its way; LLM_INFER jobs are claimed once it is there.
    """

    def __init__(
        self,
        key: KeyPair,
        lock: FileLock,
        card: WorkerCard,
        executors: dict[JobType, Executor],
        models: tuple[str, ...],
        language: _Language | None,
        settled: asyncio.Event,
        observer: EngineObserver = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self.key = key
        self.card = card
        """What it says of itself; its device only once its language model is open."""
        self.models = models
        """What is run, in words."""
        self.executors = executors
        self._lock = lock  # is held for as long as this lives, as is what the language model has
        self._language = language
        self._opening: Opening | None = None
        self._opened = asyncio.Event()
        self._settled = settled

    async def open(self) -> str | None:
        """Opens the language model, and lets its jobs begin; says what runs where.

        None where there is none to open. Raises what kept it from being opened.
        """
        words = None
        try:
            if self._language is not None:
                self._opening = self._language.open(self._observer)
                model = await self._opening.model()
                self.executors[JobType.LLM_INFER] = LlmExecutor(
                    model, self._language.jobs, self._observer
                )
                self.card = replace(self.card, device=model.device)
                words = f"{model.name} on {model.device}"
            self._opened.set()
        finally:
            self._settled.set()
        return words

    def states(self) -> dict[str, Literal["loading", "ready"]]:
        """The models that jobs can name, by name."""
        waits = self._language is not None and not self._opened.is_set()
        return dict.fromkeys(self.card.models, "loading" if waits else "ready")

    async def opened(self) -> None:
        """Returns once every job can be done."""
        await self._opened.wait()

    async def work(self, source: WorkSource, clock: Clock) -> None:
        """Works for that source, in every place, for as long as this runs."""
        worker = Worker(source, self.executors, self.key, clock)
        async with asyncio.TaskGroup() as places:
            for slots in self.card.slots:
                places.create_task(self._fill(worker, slots))

    async def _fill(self, worker: Worker, slots: Slots) -> None:
        if JobType.LLM_INFER in slots.job_types:
            await self.opened()
        await worker.run((slots,))

    def close(self) -> None:
        """Gives up what is not open yet, and ends the engine."""
        if self._opening is not None:
            self._opening.stop()
        llm = self.executors.get(JobType.LLM_INFER)
        if isinstance(llm, LlmExecutor):
            llm.close()


def hire(
    config: WorkerConfig,
    backend: BackendExecutor | None = None,
    observer: EngineObserver = UNOBSERVED,
) -> Crew:
    """Takes the key, and loads the models but the language model, which is only found.

    `observer` is told how that one does. A backend takes the place of a language model. Raises
    `Unusable` where one of them is broken or cannot be had.
    """
    key, lock = load_or_create(config.key_path)
    runs_models = JobType.LLM_INFER in config.capabilities and backend is None
    language = _language(config) if runs_models else None
    executors: dict[JobType, Executor] = {}
    settled = asyncio.Event()  # whether the language model has come, or never will

    async def author() -> Author:
        await settled.wait()
        llm = executors.get(JobType.LLM_INFER)
        if not isinstance(llm, LlmExecutor):
            raise ExecutionFailed("language_model_unusable")
        return llm

    models: list[str] = []
    slots: list[Slots] = []
    served: tuple[str, ...] = ()
    device: str | None = _TASK_DEVICE
    if backend is not None:
        executors[JobType.LLM_INFER] = backend
        served, device = (backend.model,), "backend"
        models.append(f"{backend.model} on {backend.url}")
        slots.append(Slots(frozenset({JobType.LLM_INFER}), config.slots or DEFAULT_SLOTS))
    if language is not None:
        served, device = (language.wanted.name,), None
        models.append(language.words)
        slots.append(Slots(frozenset({JobType.LLM_INFER}), language.jobs))
    if JobType.TASK in config.capabilities:
        salience = load_salience(find(DEFAULT_SUMMARIZER).path)
        classifying, name = _classifying(config)
        executors[JobType.TASK] = TaskExecutor(
            {
                "summarize": partial(summarize, salience=salience),
                "classify": classifying,
                "extract_json": extract_json,
            },
            # The embedded model knows too little to write summaries.
            None if language is None or is_embedded(language.wanted.folder) else author,
        )
        models.append(name)
        slots.append(Slots(frozenset({JobType.TASK}), TASK_SLOTS))
    worker_card = WorkerCard(
        provider_pubkey=key.public_hex,
        provider_type=config.provider_type,
        slots=tuple(slots),
        version=__version__,
        models=served,
        device=device,
    )
    return Crew(key, lock, worker_card, executors, tuple(models), language, settled, observer)


def _language(config: WorkerConfig) -> _Language:
    library = Library(config.models_dir)
    wanted = look_for(library, config.model, config.precision, working_device())
    jobs = config.slots or default_slots(prepared=wanted.prepared)
    use = take(library.home, wanted.name) if library.holds(wanted.folder) else None
    return _Language(library, wanted, jobs, use)


def _classifying(config: WorkerConfig) -> tuple[Task | Gathered, str]:
    """What answers `classify`, and how to name it."""
    if config.classifier == "keyword":
        return classify_by_keywords, "the keyword rule"
    classifier = load_classifier(find(DEFAULT_CLASSIFIER).path)
    together = partial(classify, classifier=classifier)
    return Gathered(together, "classify"), f"{classifier.name} on {classifier.device}"


def _threads(model_bytes: int, slots: int) -> int:
    """Threads for each generation: small models lose more by sharing a step than they gain."""
    if model_bytes < _LARGE_MODEL_BYTES:
        return 1
    return max(1, (os.cpu_count() or 1) // slots)
