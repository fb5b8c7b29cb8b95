"""Published weights that are on this machine already, prepared: pulled ones anew, or a folder's."""

from collections.abc import Callable
from pathlib import Path

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import ModelCard, describe
from dispatchd.engine.library import Library
from dispatchd.engine.prepare.architecture import read_architecture
from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.prepare.prepare import prepare
from dispatchd.engine.sizes import prepared_bytes


def prepare_copy(
    library: Library,
    weights: ModelCard,
    copy: Path,
    precision: Precision,
    progress: Callable[[float], None],
) -> None:
    """Prepares what is used for the first time as `copy`, unless another dispatchd has by then.

    While another one is at it, that is waited for. Raises Unusable, and what `progress` raises.
    """
    with library.locked(library.copies.stem(copy), wait=lambda: progress(0.0)):
        if not copy.is_dir():
            library.check_room(prepared_bytes(read_architecture(weights.path), precision))
            prepare(
                weights.path,
                copy,
                precision,
                name=weights.name,
                source_repo=weights.repo,
                revision=weights.revision,
                progress=progress,
            )
            library.copies.forget_older(copy)


def prepare_folder(
    library: Library,
    folder: Path,
    name: str,
    precision: Precision,
    progress: Callable[[float], None],
) -> ModelCard:
    """Prepares published weights that lie in a folder; Unusable if they cannot be."""
    shape = read_architecture(folder)
    library.check_room(prepared_bytes(shape, precision))
    target = library.folder(name)
    prepare(folder, target, precision, name=name, progress=progress)
    return describe(target)


def prepare_again(
    library: Library, card: ModelCard, precision: Precision, progress: Callable[[float], None]
) -> ModelCard:
    """Prepares a pulled model anew, from the files that were pulled; Unusable if they are gone."""
    source = library.source_of(card)
    if source is None:
        again = f"dispatchd models pull {card.repo}" if card.repo else "prepare its folder again"
        raise Unusable(f"What {card.name} was made from is not here any more: {again}.")
    library.check_room(prepared_bytes(read_architecture(source), precision))
    prepare(
        source,
        card.path,
        precision,
        name=card.name,
        source_repo=card.repo,
        revision=card.revision,
        progress=progress,
    )
    return describe(card.path)
