"""The CPU time of a PostgreSQL server on this machine, all its processes together."""

import os
from pathlib import Path
from typing import Any

import asyncpg

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def server_cpu(postmaster: int) -> float:
    """Seconds that the server's processes have used, those included that have ended."""
    first = _fields(postmaster)
    used = 0 if first is None else _ticks(first)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _fields(int(entry.name))
            used += _ticks(fields) if fields is not None and int(fields[1]) == postmaster else 0
    return used / _TICKS_PER_SECOND


async def postmaster_of(raw: "asyncpg.Connection[Any]") -> int | None:
    """The first process of the server at the other end; None where that is another machine."""
    backend = await raw.fetchval("SELECT pg_backend_pid()")
    fields = _fields(backend)
    if fields is None or not _comm(backend).startswith("postgres"):
        return None
    return int(fields[1])


def _comm(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text()


def _ticks(fields: list[str]) -> int:
    """User and system time of a process, and of the children of its that have ended."""
    return sum(map(int, fields[11:15]))


def _fields(process: int) -> list[str] | None:
    """What stands behind the name in its `stat`."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
