"""A repository's files brought here: resumed where they broke off, checked before they count."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from dispatchd.core.errors import Unusable
from dispatchd.engine.hub import Hub, HubAway, HubFile, Listing, cached

Progress = Callable[[int], None]
"""Is told by how many bytes more there are; fewer, where a file begins anew."""

_TRIES = 5
_READ_BYTES = 1024 * 1024


class Damaged(Unusable):
    """A file is not what the hub says it is; it was thrown away."""


class Downloads:
    """The files of one commit, in a folder of their own."""

    def __init__(
        self,
        hub: Hub,
        listing: Listing,
        folder: Path,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._hub = hub
        self._listing = listing
        self._folder = folder
        self._wait = wait

    def missing_bytes(self, files: list[HubFile]) -> int:
        """What is still to come."""
        return sum(file.size - self._here(file) for file in files)

    def fetch(self, file: HubFile, progress: Progress) -> None:
        """Brings the file; raises `HubAway`, `Damaged`, or Unusable where the disk is in the way.

        What was there before counts as progress too.
        """
        target = self._folder / file.name
        try:
            if target.is_file() and target.stat().st_size == file.size:
                progress(file.size)
            elif (found := cached(self._listing, file)) and _is_intact(found, file):
                _link(found, target)
                progress(file.size)
            else:
                self._download(file, progress)
        except OSError as error:
            raise Unusable(
                f"{file.name} cannot be kept in {self._folder} ({error.strerror or error}):"
                " make room, or choose another --data-dir."
            ) from error

    def _here(self, file: HubFile) -> int:
        for path in (self._folder / file.name, self._partial(file)):
            if path.is_file():
                return min(path.stat().st_size, file.size)
        return file.size if cached(self._listing, file) else 0

    def _partial(self, file: HubFile) -> Path:
        return self._folder / f"{file.name}.partial"

    def _download(self, file: HubFile, progress: Progress) -> None:
        partial = self._partial(file)
        self._complete(file, partial, progress)
        if not _is_intact(partial, file):
            progress(-partial.stat().st_size)
            partial.unlink()
            raise Damaged(
                f"{file.name} of {self._listing.repo} arrived damaged (its hash is not the one"
                " that the hub names) and was thrown away: pull again."
            )
        partial.replace(self._folder / file.name)

    def _complete(self, file: HubFile, partial: Path, progress: Progress) -> None:
        """Reads on until the partial file has its size; gives up where nothing more comes."""
        place = partial.stat().st_size if partial.exists() else 0
        progress(place)
        tries = 0
        while place < file.size or not partial.exists():
            before = place
            try:
                place = self._append(file, partial, place, progress)
                broken = HubAway(f"{self._hub.endpoint} sent too little of {file.name}.")
            except HubAway as error:
                place, broken = partial.stat().st_size if partial.exists() else 0, error
            tries = 0 if place > before else tries + 1
            if tries == _TRIES:
                share = f"{100 * place // max(file.size, 1)} %"
                raise HubAway(
                    f"{str(broken).rstrip('.')}: {share} of {file.name} are here; the same command"
                    " goes on from there."
                )
            if tries:
                self._wait(2.0 ** (tries - 1))

    def _append(self, file: HubFile, partial: Path, start: int, progress: Progress) -> int:
        """Reads as far as the connection holds, and returns how much there is then."""
        place = start
        with partial.open("ab") as sink:
            for at, piece in self._hub.read(self._listing, file, start):
                if at < place:  # the server began anew
                    sink.truncate(at)
                    progress(at - place)
                sink.write(piece)
                progress(len(piece))
                place = at + len(piece)
                if place > file.size:
                    break
            sink.flush()
            os.fsync(sink.fileno())
        return place


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hex."""
    return _hex(path, hashlib.sha256())


def _is_intact(path: Path, file: HubFile) -> bool:
    """Whether the file is the one that the hub describes."""
    if path.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return sha256_of(path) == file.sha256
    if file.blob is not None:  # git hashes a blob with its length before it
        seeded = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        return _hex(path, seeded) == file.blob
    return True


def _hex(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as source:
        while piece := source.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _link(found: Path, target: Path) -> None:
    """A link where the system allows it, so that weights lie on the disk once."""
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(found.resolve())
    except OSError:
        shutil.copyfile(found, target)
