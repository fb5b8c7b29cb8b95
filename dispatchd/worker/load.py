"""What carries jobs out with models of this machine's own, loaded with all that runs them.

ONNX Runtime, numpy and the tokenizers take their time to load, so whoever answers HTTP imports this
module by name, on the thread of `opening.py`, when that is all there is left to do.
"""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from dispatchd.engine import Progress
from dispatchd.engine.catalog import bytes_in
from dispatchd.engine.classifier import load_classifier
from dispatchd.engine.library import Library
from dispatchd.engine.observer import EngineObserver
from dispatchd.engine.obtain import open_wanted
from dispatchd.engine.salience import load_salience
from dispatchd.engine.session import RUNTIME
from dispatchd.engine.wanted import Wanted
from dispatchd.worker.gathered import Gathered
from dispatchd.worker.llm import LlmExecutor
from dispatchd.worker.task import Task, TaskExecutor
from dispatchd.worker.tasks.classify import classify
from dispatchd.worker.tasks.extract_json import extract_json
from dispatchd.worker.tasks.keywords import classify_by_keywords
from dispatchd.worker.tasks.summarize import summarize
from dispatchd.worker.written import Author

__all__ = ["RUNTIME", "llm_executor", "task_executor"]

_LARGE_MODEL_BYTES = 64 * 1024 * 1024


def task_executor(
    summarizer: Path, classifier: Path | None, author: Callable[[], Awaitable[Author]] | None
) -> TaskExecutor:
    """Carries TASK jobs out, with the models in those folders.

    Without a classifier the network's first rule answers, without an author nobody writes what only
    a language model can. Raises `Unusable` where a model is broken.
    """
    return TaskExecutor(
        {
            "summarize": partial(summarize, salience=load_salience(summarizer)),
            "classify": classify_by_keywords if classifier is None else _classifying(classifier),
            "extract_json": extract_json,
        },
        author,
    )


def llm_executor(
    library: Library, wanted: Wanted, jobs: int, observer: EngineObserver, progress: Progress
) -> LlmExecutor:
    """Carries LLM_INFER jobs out, so many at once, with the wanted model; as `open_wanted` does."""
    model = open_wanted(
        library,
        wanted,
        progress,
        threads=_threads(bytes_in(wanted.folder), jobs),
        slots=jobs,
        observer=observer,
    )
    return LlmExecutor(model, jobs, observer)


def _classifying(folder: Path) -> Task | Gathered:
    return Gathered(partial(classify, classifier=load_classifier(folder)), "classify")


def _threads(model_bytes: int, slots: int) -> int:
    """Threads for each generation: small models lose more by sharing a step than they gain."""
    if model_bytes < _LARGE_MODEL_BYTES:
        return 1
    return max(1, (os.cpu_count() or 1) // slots)
