"""The model files of this machine: whether they are what was prepared, and can be loaded."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dispatchd.config import WorkerConfig
from dispatchd.core.errors import Unusable
from dispatchd.doctor import Check, Finding, failure, ok
from dispatchd.engine.catalog import (
    ModelCard,
    describe,
    embedded,
    is_embedded,
)
from dispatchd.engine.classifier import load_classifier
from dispatchd.engine.library import Library
from dispatchd.engine.prepare.manifest import is_prepared, read_manifest, verify
from dispatchd.engine.salience import load_salience
from dispatchd.engine.wanted import Wanted, look_for, remedy_of

_SECONDS = 120.0
_AGAIN = "Install dispatchd again: the model came with it"


def model_checks(config: WorkerConfig) -> Iterator[Check]:
    """One for the model that would be run, and one for each that is here."""
    library = Library(config.models_dir)
    yield Check("model", _SECONDS, partial(wanted, config, library))
    folders = [card.path for card in embedded()]
    if library.home.is_dir():
        folders += [each for each in sorted(library.home.iterdir()) if is_prepared(each)]
    for folder in folders:
        yield Check(f"model {folder.name}", _SECONDS, partial(files, folder, library))


def wanted(config: WorkerConfig, library: Library) -> Finding:
    """Whether the language model that is asked for can be had."""
    if not embedded():
        return failure("This dispatchd was built without its models", _AGAIN)
    try:
        found = look_for(library, config.model, config.precision, lambda: "cpu")
    except Unusable as error:
        return failure(f"{error}".rstrip("."), "See dispatchd models list, or leave --model away")
    return ok(f"{found.name} would be run from {found.folder}")


def files(folder: Path, library: Library) -> Finding:
    """Whether the files of a model are whole."""
    remedy = _AGAIN if is_embedded(folder.resolve()) else f"Run: dispatchd models rm {folder.name}"
    try:
        card = describe(folder)
        if card.layout == "prepared":
            return _hashed(card, library)
        load = load_classifier if card.kind == "classifier" else load_salience
        load(card.path)
    except Unusable as error:
        return failure(f"{error}".rstrip("."), remedy)
    return ok(f"{card.name} ({card.kind}) can be loaded")


def _hashed(card: ModelCard, library: Library) -> Finding:
    manifest = read_manifest(card.path)
    remedy = remedy_of(library, Wanted(card.name, card.path), manifest)
    try:
        verify(card.path, manifest, remedy=remedy)
    except Unusable as error:
        known = _AGAIN if is_embedded(card.path) else f"{remedy[0].upper()}{remedy[1:]}"
        return failure(str(error).removesuffix(f": {remedy}."), known)
    return ok(
        f"{card.name} ({card.precision}) is as it was prepared: sha256 {manifest.model_hash[:16]}…"
    )
