"""The model that is wanted, had: prepared on its first use, verified, loaded."""

import logging
from importlib import import_module

from dispatchd.engine import Progress
from dispatchd.engine.library import Library
from dispatchd.engine.load import LanguageModel, load_language_model
from dispatchd.engine.observer import UNOBSERVED, EngineObserver
from dispatchd.engine.prepare.manifest import is_prepared, read_manifest, verify
from dispatchd.engine.wanted import Wanted, remedy_of

log = logging.getLogger(__name__)

_TOLD_SHARE = 0.25


def open_wanted(
    library: Library,
    wanted: Wanted,
    progress: Progress,
    *,
    threads: int,
    slots: int,
    observer: EngineObserver = UNOBSERVED,
) -> LanguageModel:
    """The model, ready to run; Unusable if it cannot be had after all.

    `progress` hears a share that rises to 1 with each part of the work, and may raise to give up.
    """
    if wanted.weights is not None:
        log.info("preparing %s as %s, which is done once", wanted.name, wanted.precision)
        preparing = import_module("dispatchd.engine.preparing")  # with onnx, which only this needs
        heard = _telling(wanted.name, progress)
        preparing.prepare_copy(library, wanted.weights, wanted.folder, wanted.precision, heard)
    if is_prepared(wanted.folder):
        manifest = read_manifest(wanted.folder)
        verify(wanted.folder, manifest, progress, remedy_of(library, wanted, manifest))
    return load_language_model(wanted.folder, threads=threads, slots=slots, observer=observer)


def _telling(name: str, progress: Progress) -> Progress:
    """The same progress, a few steps of which are logged as well."""
    told = 0.0

    def heard(share: float) -> None:
        nonlocal told
        if share >= told + _TOLD_SHARE:
            told = share
            log.info("preparing %s: %d %%", name, 100 * share)
        progress(share)

    return heard
