"""Starts and ends what is measured, and the load process, each in a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from scripts.bench.load import Kind, Load, Measured

ROOT = Path(__file__).parents[2]

_ADDRESS = re.compile(r"address\s+http://127\.0\.0\.1:(\d+)")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.02
_CONNECT_SECONDS = 60.0
_BURST_JOBS_PER_SECOND_MIN = 50
_TAIL_LINES = 20
_SPY_FORMATS = {".svg": "flamegraph", ".txt": "raw"}
_KEPT = ("PATH", "LANG", "HOME", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


class Failed(Exception):
    """A process did not do its part; the message holds the end of what it said."""


class Server(Struct, frozen=True):
    """A server that listens."""

    port: int
    pid: int
    log: Path


@contextmanager
def floor(folder: Path) -> Iterator[Server]:
    """Runs the floor until the end of the block."""
    with _serving([sys.executable, "-m", "scripts.bench.floor"], folder / "floor.log") as server:
        yield server


@contextmanager
def node(data_dir: Path, profile: Path | None = None, store: str | None = None) -> Iterator[Server]:
    """Runs the node of this checkout over a data folder until the end of the block.

    `store` is a shared database instead of the folder's own.
    """
    command = ["-m", "dispatchd", "run", "--testnet", "--no-worker", "--port", "0"]
    command += ["--data-dir", str(data_dir), "--log-level", "warning"]
    command += [] if store is None else ["--store", store]
    spy = shutil.which("py-spy")
    if profile is not None and spy is None:
        command = ["-m", "cProfile", "-o", str(profile.absolute()), *command]
    with _serving([sys.executable, *command], data_dir / "node.log") as server:
        if profile is None or spy is None:
            yield server
        else:
            with _spied(spy, server.pid, profile.absolute()):
                yield server


@contextmanager
def nodes(data_dir: Path, count: int, store: str) -> Iterator[list[Server]]:
    """Runs several nodes over one shared database, each with a folder for its key."""
    with ExitStack() as stack:
        folders = [data_dir / str(number) for number in range(count)]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        yield [stack.enter_context(node(folder, store=store)) for folder in folders]


def drive(servers: Sequence[Server], load: Load, postmaster: int | None = None) -> Measured:
    """Runs the load process against a server, or spread over several, with their database's."""
    ports, pids = zip(*((server.port, server.pid) for server in servers), strict=True)
    load = msgspec.structs.replace(load, ports=ports, server_pids=pids, postmaster=postmaster)
    limit_seconds = _limit_seconds(load)
    text = msgspec.json.encode(load).decode()
    command = [sys.executable, "-m", "scripts.bench.load_process", text, str(limit_seconds)]
    with _process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, said = process.communicate(timeout=limit_seconds + 10)
        except subprocess.TimeoutExpired:
            raise Failed(f"the load process did not end in {limit_seconds:.0f} s") from None
    if process.returncode != 0:
        raise Failed(
            f"the load process failed:\n{_tail(said.decode())}\n{_log_tail(servers[0].log)}"
        )
    return msgspec.json.decode(out, type=Measured)


def _limit_seconds(load: Load) -> float:
    work = load.burst / _BURST_JOBS_PER_SECOND_MIN if load.kind is Kind.BURST else load.seconds
    return _CONNECT_SECONDS + load.warm_seconds + work


@contextmanager
def _serving(command: Sequence[str], log: Path) -> Iterator[Server]:
    with log.open("wb") as output, _process(command, stdout=output, stderr=output) as process:
        yield Server(_port(process, log), process.pid, log)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{command[2]} did not stop in {_STOP_SECONDS:.0f} s") from None
    if process.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{_log_tail(log)}")


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := _ADDRESS.search(log.read_text(errors="replace")):
            return int(found[1])
        time.sleep(_LOOK_SECONDS)
    raise Failed(f"a server did not start:\n{_log_tail(log)}")


@contextmanager
def _spied(spy: str, pid: int, profile: Path) -> Iterator[None]:
    """Samples a process; py-spy writes its file when it is interrupted."""
    shape = _SPY_FORMATS.get(profile.suffix, "speedscope")
    command = [spy, "record", "--pid", str(pid), "--threads", "--format", shape]
    command += ["--duration", "3600", "--output", str(profile)]
    with _process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield
        process.send_signal(signal.SIGINT)
        process.wait(_STOP_SECONDS)
    if not profile.exists():
        raise Failed("py-spy wrote nothing; may it trace other processes here?")


@contextmanager
def _process(
    command: Sequence[str], stdout: int | IO[bytes], stderr: int | IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone after the block, whatever happens in it.

    It has a session of its own, so that Ctrl-C reaches it through us, in order.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={name: os.environ[name] for name in _KEPT if name in os.environ},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _log_tail(log: Path) -> str:
    return _tail(log.read_text(errors="replace"))


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_TAIL_LINES:])
