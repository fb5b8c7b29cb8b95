"""Which program listens on a port of this machine; known on Linux alone."""

from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_TABLES = ("net/tcp", "net/tcp6")
_LISTENING = "0A"


def listener_on(port: int) -> str | None:
    """Its name and process; None where that cannot be seen, as with other users' programs.

    Reads the kernel's tables of sockets (proc(5), /proc/net/tcp).
    """
    sockets = {f"socket:[{inode}]" for inode in _listening_on(port)}
    for process in _PROC.glob("[0-9]*"):
        if sockets and _holds(process, sockets):
            return f"{_name(process)} (process {process.name})"
    return None


def _listening_on(port: int) -> Iterator[str]:
    for table in _TABLES:
        file = _PROC / table
        if not file.is_file():
            continue
        for line in file.read_text().splitlines()[1:]:
            _, local, _, state, *fields = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                yield fields[5]


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(each.readlink()) in sockets for each in (process / "fd").iterdir())
    except OSError:  # it is somebody else's, or has ended
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a program"
