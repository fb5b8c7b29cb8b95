"""Models that were prepared on their first use, kept apart from those that have names of their own.

<home>/.folders/<name>-<origin>-<precision>-<state>/    where origin and state are hashes
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from dispatchd.core.errors import Unusable
from dispatchd.engine.catalog import ModelCard, describe, plain_name
from dispatchd.engine.prepare.manifest import Precision

_FOLDERS = ".folders"
_HASH_CHARS = 8
_ANY_HASH = "[0-9a-f]" * _HASH_CHARS


class Copies:
    """Prepared copies: of weights in folders, and of pulled models at another precision."""

    def __init__(self, home: Path) -> None:
        self.home = home / _FOLDERS

    def place(self, weights: ModelCard, precision: Precision) -> Path:
        """Where the copy of these weights is or will be; another place once a file has changed."""
        origin = _short_hash(weights.repo or str(weights.path))
        state = _short_hash(_state(weights.path))
        return self.home / f"{plain_name(weights.name)}-{origin}-{precision}-{state}"

    def stem(self, copy: Path) -> str:
        """What the names of all copies of the same weights at the same precision begin with."""
        return copy.name.rpartition("-")[0]

    def forget_older(self, copy: Path) -> None:
        """Removes copies of what the weights were before, and what killed processes left of them.

        Only for whoever keeps others from preparing the same weights meanwhile.
        """
        for folder in self._beginning_with(self.stem(copy)):
            if folder != copy:
                shutil.rmtree(folder, ignore_errors=True)

    def of(self, name: str) -> list[Path]:
        """The copies of the model of that name, and what killed processes left of them."""
        return list(self._beginning_with(f"{plain_name(name)}-{_ANY_HASH}-*"))

    def all(self) -> list[ModelCard]:
        """Those that are there and can be read."""
        cards = []
        for folder in sorted(self.home.glob("[!.]*/")):
            try:
                cards.append(describe(folder))
            except Unusable:
                continue
        return cards

    def _beginning_with(self, stem: str) -> Iterator[Path]:
        for hidden in ("", "."):
            yield from self.home.glob(f"{hidden}{stem}-{_ANY_HASH}*/")


def _state(folder: Path) -> str:
    """Changes whenever one of the folder's files is another one."""
    # Hidden ones, such as the listing that a pull writes anew each time, are no part of the model.
    files = sorted(
        file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")
    )
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return repr(facts)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]
