"""Shared libraries without their debugging symbols."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path, PurePath

Entry = tuple[str, str, str]
"""A file as PyInstaller lists it: its name in the binary, the file here, its kind."""


def slim(entries: Iterable[Entry], folder: Path) -> list[Entry]:
    """The same entries, stripped copies in that folder standing for those that can be made smaller.

    Only on Linux. Left alone are the libraries that wheels bring in a `.libs` folder: they were
    edited after they were linked, and `strip` breaks them.
    """
    if sys.platform != "linux" or shutil.which("strip") is None:
        return list(entries)
    return [_stripped(entry, folder) for entry in entries]


def _stripped(entry: Entry, folder: Path) -> Entry:
    name, source, kind = entry
    if kind not in {"BINARY", "EXTENSION"} or any(
        part.endswith(".libs") for part in PurePath(name).parts
    ):
        return entry
    copy = folder / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, copy)
    command: list[str | Path] = ["strip", "--strip-debug", "--enable-deterministic-archives", copy]
    subprocess.run(command, check=True)
    return name, str(copy), kind
