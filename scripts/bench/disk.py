"""Where the stores of a benchmark lie, and how fast that disk is at what a commit needs."""

import os
import statistics
import tempfile
import time
from pathlib import Path

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_PROBES = 50
_PAGE = bytes(4096)


def choose_folder(asked: Path | None) -> Path:
    """The folder asked for, else the first place for temporary files that is on a disk."""
    if asked is not None:
        asked.mkdir(parents=True, exist_ok=True)
        return asked.absolute()
    places = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    return next((place for place in places if on_disk(place)), places[0])


def on_disk(folder: Path) -> bool:
    """Whether what is written there leaves memory."""
    return _mount(folder)[1] not in _IN_MEMORY


def describe(folder: Path) -> str:
    """The device under a folder, and what a small durable write costs there."""
    device, kind = _mount(folder)
    memory = "not tmpfs" if on_disk(folder) else "IN MEMORY: durable commits cost nothing here"
    sync = f"{_sync_milliseconds(folder):.2f} ms to write 4 KiB and sync"
    return f"{kind} on {device} ({memory}), {sync}"


def _mount(folder: Path) -> tuple[str, str]:
    """The device and the kind of file system."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    path = folder.resolve()
    above = [fields for fields in mounts if path.is_relative_to(fields[1])]
    device, _, kind, *_ = max(above, key=lambda fields: len(fields[1]))
    return device, kind


def _sync_milliseconds(folder: Path) -> float:
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_PROBES):
            started = time.perf_counter()
            file.write(_PAGE)
            file.flush()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000
