"""`dispatchd` as its users start it: a process of its own, with folders of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 30.0
_ADDRESS = re.compile(r"address\s+(http://\S+)")


class Process:
    """A running `dispatchd`; its output can be read while it runs."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "dispatchd", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out = _Reader(self.popen.stdout)
        self.err = _Reader(self.popen.stderr)

    def url(self) -> str:
        """The address that the banner shows."""
        return str(self.out.wait_for(_ADDRESS)[1])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signals the process and returns its exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(30)

    def close(self) -> None:
        """Ends the process however it is, and its pipes."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self.out.close()
        self.err.close()


class _Reader:
    """Collects a pipe's text on a thread and lets a test wait for a pattern in it."""

    def __init__(self, pipe: object) -> None:
        self._pipe = pipe
        self.text = ""
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """The first match, once it is there."""
        with self._more:
            found = self._more.wait_for(lambda: re.search(pattern, self.text), READY_SECONDS)
            assert found, f"no {pattern} in:\n{self.text}"
            return found

    def close(self) -> None:
        self._thread.join(5)
        self._pipe.close()  # type: ignore[attr-defined]

    def _read(self) -> None:
        for line in self._pipe:  # type: ignore[attr-defined]
            with self._more:
                self.text += line
                self._more.notify_all()


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment with a home folder of its own and none of the network's variables."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return kept | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | variables


@contextmanager
def dispatchd(*arguments: str, home: Path, **variables: str) -> Iterator[Process]:
    """Runs `dispatchd` with these arguments until the end of the block."""
    home.mkdir(parents=True, exist_ok=True)
    process = Process(list(arguments), clean_environment(home, **variables))
    try:
        yield process
    finally:
        process.close()
