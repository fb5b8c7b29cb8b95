"""A worker's parts: its key, its models, and what carries jobs out once those are open."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from filelock import FileLock
from msgspec import Struct
from msgspec.structs import replace

from dispatchd.core.card import Slots, WorkerCard
from dispatchd.core.clock import Clock
from dispatchd.core.errors import ExecutionFailed
from dispatchd.core.job import JobType
from dispatchd.core.keys import KeyPair
from dispatchd.engine import Device, Progress
from dispatchd.engine.catalog import is_embedded
from dispatchd.engine.library import Library
from dispatchd.engine.observer import EngineObserver
from dispatchd.engine.wanted import Wanted
from dispatchd.worker import Executor, WorkSource
from dispatchd.worker.backend.executor import BackendExecutor
from dispatchd.worker.opening import Opening
from dispatchd.worker.worker import Worker

if TYPE_CHECKING:  # with what runs models; nothing of it is loaded before it is needed
    from dispatchd.worker.llm import LlmExecutor
    from dispatchd.worker.task import TaskExecutor
    from dispatchd.worker.written import Author

_T = TypeVar("_T")

TASK_DEVICE: Device = "cpu"
"""What the models of tasks run on, which are small."""
_LLM = JobType.LLM_INFER


class Language(Struct, frozen=True):
    """The language model that is to be run, and how many jobs at once."""

    library: Library
    wanted: Wanted
    jobs: int
    use: object

    @property
    def words(self) -> str:
        """What is run."""
        return f"{self.wanted.name} (being prepared)" if self.wanted.weights else self.wanted.name

    @property
    def writes(self) -> bool:
        """Whether it knows enough to write summaries, unlike the embedded one."""
        return not is_embedded(self.wanted.folder)


class Tasks(Struct, frozen=True):
    """The models that TASK jobs need; without a classifier a list of words answers."""

    summarizer: Path
    classifier: Path | None

    @property
    def words(self) -> str:
        """What answers `classify`."""
        if self.classifier is None:
            return "the keyword rule"
        return f"{self.classifier.name} on {TASK_DEVICE}"


class Crew:
    """A worker's parts: its key, what it can do, and what carries that out.

    Its models may still be on their way; each type's jobs are claimed once theirs are there.
    """

    def __init__(
        self,
        key: KeyPair,
        lock: FileLock,
        card: WorkerCard,
        backend: BackendExecutor | None,
        language: Language | None,
        tasks: Tasks | None,
        observer: EngineObserver,
    ) -> None:
        self.key = key
        self.card = card
        """What it says of itself; its device only once its language model is open."""
        self._lock = lock  # is held for as long as this lives, as is what the language model has
        self._backend = backend
        self._language = language
        self._tasks = tasks
        self._observer = observer
        self.executors: dict[JobType, Executor] = {}
        self._ready = {kind: asyncio.Event() for kind in card.capabilities}
        self._settled = asyncio.Event()  # whether the language model has come, or never will
        self._opening: Opening[Any] | None = None
        self._llm: LlmExecutor | None = None
        if backend is not None:
            self._begin(_LLM, backend)

    @property
    def models(self) -> Sequence[str]:
        """What is run, in words."""
        backend = self._backend
        served = [] if backend is None else [f"{backend.model} on {backend.url}"]
        return [*served, *(each.words for each in (self._language, self._tasks) if each)]

    async def open(self) -> str | None:
        """Opens the models, those of tasks first, and lets their jobs begin.

        Says what language model runs where; None where there is none to open. Raises what kept a
        model from being opened.
        """
        try:
            if self._tasks is not None:
                opening = partial(_open_tasks, self._tasks, self._author, self._observer)
                self._begin(JobType.TASK, await self._opened(opening))
            if self._language is None:
                return None
            self._llm = llm = await self._opened(
                partial(_open_language, self._language, self._observer)
            )
            self.card = replace(self.card, device=llm.device)
            self._begin(_LLM, llm)
            return f"{llm.name} on {llm.device}"
        finally:
            self._settled.set()

    def states(self) -> dict[str, Literal["loading", "ready"]]:
        """The models that jobs can name, by name."""
        return dict.fromkeys(self.card.models, "ready" if _LLM in self.executors else "loading")

    async def opened(self) -> None:
        """Returns once every job can be done."""
        for ready in self._ready.values():
            await ready.wait()

    async def work(self, source: WorkSource, clock: Clock) -> None:
        """Works for that source, in every place, for as long as this runs."""
        worker = Worker(source, self.executors, self.key, clock)
        async with asyncio.TaskGroup() as places:
            for slots in self.card.slots:
                places.create_task(self._fill(worker, slots))

    def close(self) -> None:
        """Gives up what is not open yet, and ends the engine."""
        if self._opening is not None:
            self._opening.stop()
        if self._llm is not None:
            self._llm.close()

    async def _opened(self, open_model: Callable[[Progress], _T]) -> _T:
        opening = Opening(open_model)
        self._opening = opening
        return await opening.opened()

    def _begin(self, kind: JobType, executor: Executor) -> None:
        self.executors[kind] = executor
        self._ready[kind].set()

    async def _fill(self, worker: Worker, slots: Slots) -> None:
        for kind in slots.job_types:
            await self._ready[kind].wait()
        await worker.run((slots,))

    @property
    def _author(self) -> "Callable[[], Awaitable[Author]] | None":
        """Who writes what only a language model can, if there will be somebody."""
        able = self._language is not None and self._language.writes
        return self._language_model if able else None

    async def _language_model(self) -> "Author":
        await self._settled.wait()
        if self._llm is None:
            raise ExecutionFailed("language_model_unusable")
        return self._llm


def _open_tasks(
    tasks: Tasks,
    author: "Callable[[], Awaitable[Author]] | None",
    observer: EngineObserver,
    _: Progress,
) -> "TaskExecutor":
    executor: TaskExecutor = _loader(observer).task_executor(
        tasks.summarizer, tasks.classifier, author
    )
    return executor


def _open_language(
    language: Language, observer: EngineObserver, progress: Progress
) -> "LlmExecutor":
    executor: LlmExecutor = _loader(observer).llm_executor(
        language.library, language.wanted, language.jobs, observer, progress
    )
    return executor


def _loader(observer: EngineObserver) -> ModuleType:
    """`worker/load.py`, with all that runs models, which takes a while to load."""
    loader = import_module("dispatchd.worker.load")
    observer.loaded(loader.RUNTIME)
    return loader
