"""The model that a node is to run: found and judged at once, with nothing loaded that runs it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import msgspec
from msgspec.structs import replace

from dispatchd.core.errors import Unusable
from dispatchd.engine import Device
from dispatchd.engine.catalog import ModelCard, describe, find, is_embedded, plain_name
from dispatchd.engine.folder import check_folder
from dispatchd.engine.library import Library
from dispatchd.engine.precision import Asked, chosen_precision
from dispatchd.engine.prepare.architecture import read_architecture
from dispatchd.engine.prepare.manifest import Manifest, Precision, is_prepared, read_manifest
from dispatchd.engine.sizes import prepared_bytes

_BATCHED_SLOTS = 16
_PLAIN_SLOTS = 1


class Wanted(msgspec.Struct, frozen=True):
    """A model to run from `folder`; where there are `weights`, it is prepared from them first."""

    name: str
    folder: Path
    precision: Precision | None = None
    weights: ModelCard | None = None

    @property
    def prepared(self) -> bool:
        """Whether it is or will be a prepared model, whose jobs are batched."""
        return self.weights is not None or is_prepared(self.folder)

    @property
    def slots(self) -> int:
        """How many jobs at once suit it; a step costs a batch little more than one."""
        return _BATCHED_SLOTS if self.prepared else _PLAIN_SLOTS


def look_for(
    library: Library, name_or_path: str, asked: Asked, device: Callable[[], Device]
) -> Wanted:
    """What is to be run, and whether that is possible as far as can be told without reading it all.

    `auto` takes a model that is prepared already as it is. One that was prepared otherwise than
    asked is prepared again where its published files are here. `device`, for which `auto` prepares
    weights, is asked for then alone. Raises Unusable.
    """
    card = find(name_or_path, library.home)
    if card.kind != "llm":
        raise Unusable(f"{card.name} is a {card.kind}, no language model: give another --model.")
    if card.layout == "safetensors":
        precision = chosen_precision(asked, device()) if asked == "auto" else asked
        return _from_weights(library, card, precision)
    if asked != "auto" and asked != card.precision:
        return _from_weights(library, _weights_of(library, card, asked), asked)
    check_folder(card.path)
    if card.layout == "prepared":
        read_manifest(card.path)
    return Wanted(card.name, card.path)


def _from_weights(library: Library, weights: ModelCard, precision: Precision) -> Wanted:
    copy = library.copies.place(weights, precision)
    if copy.is_dir():
        return Wanted(weights.name, copy)
    shape = read_architecture(weights.path)
    # With numpy, which a model that is prepared already is found without.
    import_module("dispatchd.engine.prepare.weights").open_weights(weights.path)
    library.check_room(prepared_bytes(shape, precision))
    return Wanted(weights.name, copy, precision, weights)


def _weights_of(library: Library, card: ModelCard, asked: Precision) -> ModelCard:
    """The published weights that a prepared model was made from."""
    if card.layout != "prepared":
        raise Unusable(
            f"{card.name} is an ONNX export, which runs as it is: leave --precision away, or name"
            " its published weights."
        )
    if is_embedded(card.path):
        raise Unusable(
            f"{card.name} is embedded as {card.precision} alone: leave --precision away, or give"
            " another --model."
        )
    source = library.source_of(card)
    if source is None:
        again = f"dispatchd models pull {card.repo}" if card.repo else "prepare its folder again"
        raise Unusable(
            f"{card.name} is prepared as {card.precision}, and what it was made from is not here to"
            f" make it {asked}: {again}, or leave --precision away."
        )
    return replace(describe(source), name=card.name, repo=card.repo, revision=card.revision)


def remedy_of(library: Library, wanted: Wanted, manifest: Manifest) -> str:
    """What to do where a prepared model's files are broken."""
    if not library.holds(wanted.folder):
        return "prepare the model again"
    if wanted.folder.parent == library.copies.home:
        return f"run dispatchd models rm {plain_name(wanted.name)}, and it is prepared again"
    if manifest.source.repo is None:
        return f"run dispatchd models prepare DIR --name {wanted.name}, DIR being its weights"
    return f"run dispatchd models prepare {wanted.name}"
