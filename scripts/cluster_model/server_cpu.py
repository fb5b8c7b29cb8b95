"""The CPU time of a PostgreSQL server on this machine, all its processes together."""

import os
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def server_cpu(postmaster: int) -> float:
    """Seconds that the server's processes have used, those included that have ended."""
    used = _ticks(postmaster)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and parent_of(int(entry.name)) == postmaster:
            used += _ticks(int(entry.name))
    return used / _TICKS_PER_SECOND


def parent_of(process: int) -> int | None:
    """The process that started another; None where that is gone."""
    fields = _fields(process)
    return None if fields is None else int(fields[1])


def _ticks(process: int) -> int:
    """User and system time of a process, and of the children of its that have ended."""
    fields = _fields(process)
    if fields is None:
        return 0
    return sum(map(int, fields[11:15]))


def _fields(process: int) -> list[str] | None:
    """What stands behind the name in its `stat`."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
