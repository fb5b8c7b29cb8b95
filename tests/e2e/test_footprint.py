"""A whole run leaves nothing outside its data folder, and talks to nobody but its clients."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.e2e.client import LLM, TASK, Client
from tests.support.process import dispatchd

FOLDERS = {
    "XDG_DATA_HOME": "data",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_STATE_HOME": "state",
    "XDG_RUNTIME_DIR": "runtime",
    "TMPDIR": "temporary",
}
CALLS = (
    "openat,openat2,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,"
    "symlinkat,mknod,mknodat,connect,sendto,sendmsg,sendmmsg"
)
STRACE = ("strace", "-D", "-f", "-y", "-e", f"trace={CALLS}", "-o")
CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<rest>.*)$", re.MULTILINE)
OPENS = frozenset({"open", "openat", "openat2"})
TALKS = frozenset({"connect", "sendto", "sendmsg", "sendmmsg"})
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
PEER = re.compile(r'inet_addr\("([^"]*)"\)|inet_pton\(AF_INET6, "([^"]*)"')
# What the C library reads, or asks, before it finds a name's address.
LOOK_UPS = ("/etc/resolv.conf", "/etc/hosts", "/nscd/socket", "io.systemd.Resolve")
TRACE = """\
7 openat(AT_FDCWD</home>, "notes", O_WRONLY|O_CREAT, 0600) = 3</home/notes>
7 openat(AT_FDCWD</home>, "/etc/hosts", O_RDONLY) = 3</etc/hosts>
7 openat(AT_FDCWD</home>, "/etc/new", O_RDWR <unfinished ...>
8 rename("/a", "/b") = 0
8 connect(4<socket:[1]>, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = -1 ENOENT
8 connect(4<TCP:[1]>, {sa_family=AF_INET, sin_addr=inet_addr("1.2.3.4")}, 16) = 0
8 sendto(4, "x", 1, 0, {sa_family=AF_INET6, inet_pton(AF_INET6, "::1", &sin6_addr)}, 28) = 1
"""
DEVICES = ("/dev/", "/proc/")


def whole_run(folder: Path, *under: str) -> Path:
    """Starts a node, has a job of each type done, stops it; returns its data folder."""
    variables = {name: str(folder / path) for name, path in FOLDERS.items()}
    for path in variables.values():
        Path(path).mkdir()
    with dispatchd(
        *("run", "--testnet", "--port", "0"),
        home=folder / "home",
        under=under,
        PYTHONDONTWRITEBYTECODE="1",
        **variables,
    ) as node:
        client = Client(node.url())
        for payload in (LLM, TASK):
            client.until(client.commit(payload), "completed")
        assert node.stop() == 0
    return folder / "data" / "dispatchd"


def written(trace: str) -> Iterator[Path]:
    """Every path that a call of the trace would create, rename or write."""
    for call in CALL.finditer(trace):
        name, rest = call["name"], call["rest"]
        if name in TALKS or (name in OPENS and not WRITES.search(rest)):
            continue
        for found in PATH.finditer(rest):
            yield Path(found["folder"] or "/", found["path"])


def peers(trace: str) -> Iterator[str]:
    """Every address that a call of the trace speaks to."""
    for call in CALL.finditer(trace):
        if call["name"] in TALKS:
            yield from (found[1] or found[2] for found in PEER.finditer(call["rest"]))


def look_ups(trace: str) -> list[str]:
    """By which ways a name was looked up."""
    return [way for way in LOOK_UPS if f'{way}"' in trace]


def outside(paths: Sequence[Path], folder: Path) -> list[str]:
    return [
        str(path)
        for path in paths
        if not path.is_relative_to(folder) and not str(path).startswith(DEVICES)
    ]


def test_a_run_leaves_files_in_its_data_folder_alone(tmp_path: Path) -> None:
    data = whole_run(tmp_path)
    kept = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert kept
    assert not outside(kept, data)
    assert list((tmp_path / "home").iterdir()) == []
    assert data.stat().st_mode & 0o777 == 0o700
    secret = [file for file in kept if file.stat().st_size]
    assert {file.suffix for file in secret} == {".sqlite3", ".json"}
    assert {oct(file.stat().st_mode & 0o777) for file in secret} == {"0o600"}


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs program: strace")
def test_a_run_writes_nowhere_else_and_calls_nobody(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    data = whole_run(tmp_path, *STRACE, str(file))
    trace = file.read_text()

    paths = list(written(trace))

    assert data / "monad.sqlite3" in paths
    assert any(path.parent == data and path.suffix == ".json" for path in paths)
    assert not outside(paths, data)
    assert {peer for peer in peers(trace) if not re.fullmatch(r"127\..*|::1", peer)} == set()
    assert look_ups(trace) == []


def test_a_trace_is_read_as_it_is_meant() -> None:
    assert list(map(str, written(TRACE))) == ["/home/notes", "/etc/new", "/a", "/b"]
    assert list(peers(TRACE)) == ["1.2.3.4", "::1"]
    assert look_ups(TRACE) == ["/etc/hosts"]
