"""Loads a language model's folder with the engine that suits its graph."""

from pathlib import Path

from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.batch.load import open_batcher
from dispatchd.engine.generate import TextModel, load_text_model
from dispatchd.engine.machine import compute_threads
from dispatchd.engine.observer import UNOBSERVED, EngineObserver
from dispatchd.engine.prepare.manifest import is_prepared

LanguageModel = TextModel | Batcher


def load_language_model(
    folder: Path, *, threads: int, slots: int, observer: EngineObserver = UNOBSERVED
) -> LanguageModel:
    """The batcher for a prepared model, on all cores; for other graphs one thread a generation.

    `threads` is for each of those generations. Unusable if the folder cannot be run.
    """
    if is_prepared(folder):
        return open_batcher(folder, threads=compute_threads(), slots=slots, observer=observer)
    return load_text_model(folder, threads=threads)
