"""Published weights that are on this machine already, prepared: pulled ones anew, or a folder's."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import ModelCard, describe
from dispatchd.engine.library import Library, make_private, plain_name
from dispatchd.engine.prepare.architecture import read_architecture
from dispatchd.engine.prepare.manifest import Precision
from dispatchd.engine.prepare.prepare import prepare
from dispatchd.engine.sizes import prepared_bytes

_FOLDERS = ".folders"
_SLACK = 1.05


def prepared_once(
    library: Library, card: ModelCard, precision: Precision, progress: Callable[[float], None]
) -> ModelCard:
    """What runs for a model that was given as a folder: prepared on its first use, then kept.

    It is prepared again when one of the folder's files has changed. A card of any other layout
    than `safetensors` comes back as it is. Raises Unusable.
    """
    if card.layout != "safetensors":
        return card
    places = library.home / _FOLDERS
    stem = f"{plain_name(card.name)}-{_short_hash(str(card.path))}-{precision}"
    target = places / f"{stem}-{_short_hash(_state(card.path))}"
    with library.locked(stem):
        if not target.is_dir():
            check_room(places, prepared_bytes(read_architecture(card.path), precision))
            prepare(card.path, target, precision, name=card.name, progress=progress)
            for older in places.glob(f"{stem}-*/"):
                if older != target:
                    shutil.rmtree(older)
    return msgspec.structs.replace(describe(target), name=card.name)


def prepare_folder(
    library: Library,
    folder: Path,
    name: str,
    precision: Precision,
    progress: Callable[[float], None],
) -> ModelCard:
    """Prepares published weights that lie in a folder; Unusable if they cannot be."""
    shape = read_architecture(folder)
    check_room(library.home, prepared_bytes(shape, precision))
    target = library.folder(name)
    prepare(folder, target, precision, name=name, progress=progress)
    return describe(target)


def prepare_again(
    library: Library, card: ModelCard, precision: Precision, progress: Callable[[float], None]
) -> ModelCard:
    """Prepares a pulled model anew, from the files that were pulled; Unusable if they are gone."""
    source = library.source(card.repo, card.revision) if card.repo and card.revision else None
    if source is None or not source.is_dir():
        again = f"dispatchd models pull {card.repo}" if card.repo else "prepare its folder again"
        raise Unusable(f"What {card.name} was made from is not here any more: {again}.")
    check_room(library.home, prepared_bytes(read_architecture(source), precision))
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


def check_room(home: Path, needed_bytes: int) -> None:
    """Unusable if the disk has less room than that."""
    make_private(home)
    free = shutil.disk_usage(home).free
    if free < needed_bytes * _SLACK:
        raise Unusable(
            f"{home} has {free / 1e9:.1f} GB of room and {needed_bytes * _SLACK / 1e9:.1f} GB are"
            " needed: make room, or choose another --data-dir."
        )


def _state(folder: Path) -> str:
    """Changes whenever one of the folder's files is another one."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return repr(facts)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
