"""`dispatchd` as its users start it: a process of its own, with folders of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

READY_SECONDS = 30.0
STOP_SECONDS = 8.0
END_SECONDS = 10.0
OURS = (sys.executable, "-m", "dispatchd")
_ADDRESS = re.compile(r"address\s+(http://\S+)")


class Process:
    """A running `dispatchd`; its output can be read while it runs."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: dict[str, str],
        under: Sequence[str] = (),
        program: Sequence[str] = OURS,
    ) -> None:
        self.popen = subprocess.Popen(
            [*under, *program, *arguments],
            env=environment,
            cwd=environment["HOME"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout
        assert self.popen.stderr
        self.out = _Reader(self.popen.stdout)
        self.err = _Reader(self.popen.stderr)

    def url(self) -> str:
        """The address that the banner shows."""
        found = self.out.search(_ADDRESS)
        assert found, f"the node did not start:\n{self.out.text}{self.err.text}"
        return str(found[1])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signals the process and returns its exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(STOP_SECONDS)

    def close(self) -> None:
        """Ends the process however it is, and its pipes."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self.out.close()
        self.err.close()


class _Reader:
    """Collects a pipe's text on a thread and lets a test wait for a pattern in it."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self.text = ""
        self._ended = False
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def search(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        """The first match once it is there; None if the pipe ends or time runs out before."""
        with self._more:
            self._more.wait_for(lambda: self._ended or self._found(pattern), READY_SECONDS)
            return self._found(pattern)

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """The first match, once it is there."""
        found = self.search(pattern)
        assert found, f"no {pattern} in:\n{self.text}"
        return found

    def close(self) -> None:
        self._thread.join(5)
        self._pipe.close()

    def _found(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        return re.search(pattern, self.text)

    def _read(self) -> None:
        for line in self._pipe:
            with self._more:
                self.text += line
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment with a home folder of its own and none of the network's variables."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return kept | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | variables


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def dispatchd(
    *arguments: str,
    home: Path,
    under: Sequence[str] = (),
    program: Sequence[str] = OURS,
    **variables: str,
) -> Iterator[Process]:
    """Runs `dispatchd` with these arguments until the end of the block."""
    home.mkdir(parents=True, exist_ok=True)
    process = Process(arguments, clean_environment(home, **variables), under, program)
    try:
        yield process
    finally:
        process.close()


def ended(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What came of a `dispatchd` that ends by itself."""
    home.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [*OURS, *arguments],
        env=clean_environment(home, **variables),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
