"""A worker's parts, made from its options: its key, its models, and what carries jobs out."""

import logging
import os
from functools import partial
from importlib import import_module

from filelock import FileLock
from msgspec import Struct

from dispatchd import __version__
from dispatchd.config import WorkerConfig
from dispatchd.core.card import Slots, WorkerCard
from dispatchd.core.job import JobType
from dispatchd.core.keys import WorkerKey
from dispatchd.engine.catalog import DEFAULT_CLASSIFIER, ModelCard, find
from dispatchd.engine.classifier import load_classifier
from dispatchd.engine.library import Library
from dispatchd.engine.load import default_slots, load_language_model
from dispatchd.worker import Executor
from dispatchd.worker.keyfile import load_or_create
from dispatchd.worker.llm import LlmExecutor
from dispatchd.worker.task import TaskExecutor
from dispatchd.worker.tasks.classify import classify
from dispatchd.worker.tasks.extract_json import extract_json
from dispatchd.worker.tasks.summarize import summarize

log = logging.getLogger(__name__)

TASK_SLOTS = 4
_LARGE_MODEL_BYTES = 64 * 1024 * 1024


class Crew(Struct, frozen=True):
    """A worker's parts, ready to run: its key, what it can do, and how to describe it."""

    key: WorkerKey
    lock: FileLock
    card: WorkerCard
    executors: dict[JobType, Executor]
    models: tuple[str, ...]


def hire(config: WorkerConfig) -> Crew:
    """Loads key and models; raises `Unusable` where one of them is broken."""
    key, lock = load_or_create(config.key_path)
    executors: dict[JobType, Executor] = {}
    models: list[str] = []
    slots: list[Slots] = []
    served: tuple[str, ...] = ()
    if JobType.LLM_INFER in config.capabilities:
        card = _runnable(config)
        jobs = config.slots or default_slots(card.path)
        threads = _threads(card.bytes_on_disk, jobs)
        model = load_language_model(card.path, threads=threads, slots=jobs)
        executors[JobType.LLM_INFER] = LlmExecutor(model, jobs)
        served = (model.name,)
        models.append(f"{model.name} on {model.device}")
        slots.append(Slots(frozenset({JobType.LLM_INFER}), jobs))
    if JobType.TASK in config.capabilities:
        classifier = load_classifier(find(DEFAULT_CLASSIFIER).path)
        executors[JobType.TASK] = TaskExecutor(
            {
                "summarize": summarize,
                "classify": partial(classify, classifier=classifier),
                "extract_json": extract_json,
            }
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
