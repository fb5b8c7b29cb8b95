"""The folder in which pulled models live: prepared ones by name, what they were made from beside.

<home>/<name>/                              a prepared model
<home>/.sources/<owner>--<name>/<commit>/   the published files of one commit
<home>/.folders/…/                          what was prepared on its first use, see `copies`
<home>/.used/<name>.lock                    who has it in use, see `use`
"""

import logging
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import (
    UNWELCOME,
    ModelCard,
    bytes_in,
    describe,
    embedded,
    plain_name,
    pulled,
)
from dispatchd.engine.copies import Copies
from dispatchd.engine.prepare.manifest import is_prepared
from dispatchd.engine.short_names import short_name, short_name_of
from dispatchd.engine.use import unused

log = logging.getLogger(__name__)

_SOURCES = ".sources"
_ANY_WEIGHTS = "*/*/*.safetensors*"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_LOOK_SECONDS = 0.2
_SLACK = 1.05


class Unfinished(msgspec.Struct, frozen=True):
    """A repository of which files are here, but no prepared model."""

    repo: str
    bytes_on_disk: int


class Library:
    """What has been pulled; nothing in here asks the hub."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def copies(self) -> Copies:
        """What was prepared here on its first use."""
        return Copies(self.home)

    def cards(self) -> list[ModelCard]:
        """The prepared models, by name."""
        return pulled(self.home)

    def find(self, name: str) -> ModelCard | None:
        """The prepared model of that name, short name or repository."""
        published = short_name(name)
        repo = published.repo if published else name
        cards = self.cards()
        by_name = (card for card in cards if card.name == name)
        return next(by_name, next((card for card in cards if card.repo == repo), None))

    def unfinished(self) -> list[Unfinished]:
        """Repositories that were pulled in part, or never prepared."""
        prepared = {_folder_name(card.repo) for card in self.cards() if card.repo}
        weights = (self.home / _SOURCES).glob(_ANY_WEIGHTS)
        folders = sorted({file.parents[1] for file in weights})
        return [
            Unfinished(folder.name.replace("--", "/", 1), bytes_in(folder))
            for folder in folders
            if folder.name not in prepared
        ]

    def name_for(self, repo: str, wanted: str | None) -> str:
        """The name under which the repository's model is kept; Unusable if it is taken."""
        name = wanted or _default_name(repo)
        self.check_name(name)
        taken = next((card for card in self.cards() if card.name == name), None)
        if taken is not None and taken.repo != repo:
            raise Unusable(
                f"There is a model {name} already, from {taken.repo or 'a folder'}:"
                " give another --name."
            )
        return name

    def check_name(self, name: str) -> None:
        """Unusable if no model may be called that."""
        if not _NAME.fullmatch(name):
            raise Unusable(f"{name!r} is no name: use letters, digits, dots, - and _ alone.")
        if any(card.name == name for card in embedded()):
            raise Unusable(f"{name} is the name of an embedded model: give another --name.")

    def holds(self, folder: Path) -> bool:
        """Whether the folder is in here."""
        return folder.resolve().is_relative_to(self.home.resolve())

    def folder(self, name: str) -> Path:
        """Where the prepared model of that name is or will be."""
        return self.home / name

    def source(self, repo: str, commit: str) -> Path:
        """Where the published files of that commit are or will be."""
        return self._sources(repo) / commit

    def source_of(self, card: ModelCard) -> Path | None:
        """The published files that a prepared model was made from, where they are here."""
        if not (card.repo and card.revision):
            return None
        source = self.source(card.repo, card.revision)
        return source if source.is_dir() else None

    def sources(self, repo: str) -> list[Path]:
        """The commits of which files are here, the latest pull first."""
        folders = [folder for folder in self._sources(repo).glob("*/") if folder.is_dir()]
        return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)

    def check_room(self, needed_bytes: int) -> None:
        """Unusable if the disk has less room than that."""
        make_private(self.home)
        free = shutil.disk_usage(self.home).free
        if free < needed_bytes * _SLACK:
            raise Unusable(
                f"{self.home} has {free / 1e9:.1f} GB of room and {needed_bytes * _SLACK / 1e9:.1f}"
                " GB are needed: make room, or choose another --data-dir."
            )

    def forget_unused(self, repo: str) -> None:
        """Removes the published files of commits that no prepared model was made from."""
        used = {card.revision for card in self.cards() if card.repo == repo}
        for folder in self.sources(repo):
            if folder.name not in used:
                shutil.rmtree(folder)

    def remove(self, name: str) -> int:
        """Removes a model, what it was made from, and what was prepared of it on first use.

        One whose files cannot be read goes by its folder's name.
        Returns how many bytes that frees. What another model was made from too is kept. Unusable if
        there is no such model, or a running node has it in use.
        """
        if any(card.name == name for card in embedded()):
            raise Unusable(f"{name} is embedded: it comes with the program and stays.")
        broken = self._broken(name)
        card = self.find(name) if broken is None else None
        published = short_name(name)
        repo = card.repo if card else (published.repo if published else name)
        kept_as = card.name if card else name
        with self.locked(repo or name), unused(self.home, kept_as):
            folder = card.path if card else broken
            folders = self.copies.of(kept_as) + ([folder] if folder else [])
            freed = sum(_remove(folder) for folder in folders)
            others = {other.repo for other in self.cards()}
            if repo and repo not in others and _REPO.fullmatch(repo):
                freed += _remove(self._sources(repo))
        if not freed and not folders:
            known = ", ".join(card.name for card in self.cards()) or "none"
            raise Unusable(f"There is no pulled model {name!r}; those are: {known}.")
        return freed

    @contextmanager
    def locked(self, what: str, wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Keeps other commands away from what belongs to a repository or a copy.

        While another is at work on it, `wait` is called now and then, and may raise to give up;
        without `wait` that is Unusable.
        """
        places = self.home / _SOURCES
        try:
            make_private(places)
            lock = FileLock(places / f".{_folder_name(what)}.lock")
            _acquire(lock, wait)
        except Timeout:
            raise Unusable(
                f"Another dispatchd is at work on {what}: wait until it is done."
            ) from None
        except OSError as error:
            raise Unusable(
                f"{self.home} cannot be written ({error.strerror}): choose another --data-dir."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _broken(self, name: str) -> Path | None:
        """The prepared model in the folder of that name, where its files cannot be read."""
        folder = self.folder(name)
        if not _NAME.fullmatch(name) or not is_prepared(folder):
            return None
        try:
            describe(folder)
        except Unusable:
            return folder
        return None

    def _sources(self, repo: str) -> Path:
        return self.home / _SOURCES / _folder_name(repo)


def make_private(folder: Path) -> None:
    """Makes the folder and those above it that are missing, for their owner alone."""
    for each in [*reversed(folder.parents), folder]:
        if not each.is_dir():
            each.mkdir(exist_ok=True, mode=0o700)


def _acquire(lock: FileLock, wait: Callable[[], None] | None) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if wait is None:
            raise
        log.info("another dispatchd is at work on %s: waiting", Path(lock.lock_file).stem)
        while not lock.is_locked:
            wait()
            with suppress(Timeout):
                lock.acquire(timeout=_LOOK_SECONDS)


def _default_name(repo: str) -> str:
    published = short_name_of(repo)
    return published.name if published else plain_name(repo.rpartition("/")[2])


def _folder_name(repo: str) -> str:
    return UNWELCOME.sub("-", repo.replace("/", "--"))


def _remove(folder: Path) -> int:
    """Takes the folder out of sight at once, then its files away."""
    if not folder.exists():
        return 0
    freed = bytes_in(folder)
    gone = folder.with_name(f".removed-{uuid.uuid4().hex[:8]}")
    folder.rename(gone)
    shutil.rmtree(gone)
    return freed
