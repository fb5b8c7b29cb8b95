"""Tries a binary where there is nothing else: `check_binary.py FILE` (onefile, or the archive)."""

import argparse
import http.client
import json
import os
import pty
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from packaging.version import Version

from scripts.binary.bare_root import BareRoot, unpacked
from scripts.binary.contents import modules
from scripts.binary.glibc import elf_files, oldest_glibc
from tests.e2e.client import LLM, TASK, Client, until
from tests.e2e.test_footprint import STRACE, look_ups, peers
from tests.e2e.test_guide import COMMANDS, assert_completed, committed, polled, typed
from tests.support.hub import Repo, fake_hub
from tests.support.process import Process, clean_environment, dispatchd, free_port
from tests.support.published import published

_ROOT = Path(__file__).parents[2]
_HOME = Path("/")
_DATA = {"XDG_DATA_HOME": "/data"}
_GUIDE_ADDRESS = "localhost:4010"
_MEGABYTE = 1_000_000
_LOOK_SECONDS = 0.002
_END_SECONDS = 120
_COMMANDS = ("run", "worker", "submit", "job", "models", "keys", "wallet", "receipt", "completion")
_REPO = "someone/Tiny-Chat"


class Trial:
    """One binary, and the roots that it is tried in."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.file: Path = options.file.resolve()
        self.runs: int = options.runs
        self.glibc_max: Version | None = options.glibc
        self._scratch = scratch
        self._program = unpacked(self.file, scratch / "unpacked")
        self.one_file = self._program.is_file()

    @cached_property
    def glibc(self) -> Version:
        """The oldest one that it runs with."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            return oldest_glibc(elf_files(self._program, Path(folder)))

    @contextmanager
    def root(self) -> Iterator[BareRoot]:
        """A new one, which is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            root = BareRoot(Path(folder), self._program)
            yield root
            assert not root.processes(), "processes are left behind"


@contextmanager
def node(
    root: BareRoot, *arguments: str, port: int = 0, under: Sequence[str] = ()
) -> Iterator[Process]:
    """A node in that root."""
    words = ("run", "--testnet", "--port", str(port), *arguments)
    with dispatchd(*words, home=_HOME, under=under, program=root.program(), **_DATA) as process:
        yield process


def ended(
    program: Sequence[str], *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """What came of a command that ends by itself."""
    environment = clean_environment(_HOME, **variables)
    return subprocess.run(
        [*program, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_END_SECONDS,
        check=False,
    )


def figures(trial: Trial) -> None:
    """Prints size, time to the first answer and memory."""
    seconds, memory = [], 0
    for _ in range(trial.runs):
        with trial.root() as root:
            took, memory = first_answer(root)
            seconds.append(took)
    size = trial.file.stat().st_size if trial.file.is_file() else 0
    print(f"  size {size / _MEGABYTE:.1f} MB; for glibc {trial.glibc} and newer", flush=True)
    print(f"  first answer {statistics.median(seconds):.2f} s (median of {trial.runs};"
          f" {min(seconds):.2f} to {max(seconds):.2f})")  # fmt: skip
    print(f"  memory {memory / _MEGABYTE:.0f} MB at most, a language model's answer included")


def first_answer(root: BareRoot) -> tuple[float, int]:
    """Seconds from the start to the first HTTP answer, and the most bytes of memory in the end."""
    port = free_port()
    start = time.monotonic()
    with node(root, port=port) as process:
        while not answers(port):
            assert process.popen.poll() is None, process.err.text
            time.sleep(_LOOK_SECONDS)
        took = time.monotonic() - start
        client = Client(process.url())
        client.until(client.commit(LLM), "completed")
        memory = sum(peak_bytes(each) for each in root.processes())
        assert process.stop() == 0, process.err.text
    return took, memory


def answers(port: int) -> bool:
    """Whether somebody answers HTTP there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except ConnectionError:
        return False
    finally:
        connection.close()


def peak_bytes(process: int) -> int:
    """The most memory that a process has had."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024


def the_guide(trial: Trial) -> None:
    """Every command of "Submit a job", then SIGTERM: nothing stays but the data."""
    with trial.root() as root, tempfile.TemporaryDirectory() as home:
        with node(root) as process:
            address = process.url().removeprefix("http://")
            here = [each.replace(_GUIDE_ADDRESS, address) for each in COMMANDS]
            quote, llm, task, poll = here
            assert "endpoint" in json.loads(typed(quote, Path(home)))
            jobs = [committed(typed(each, Path(home))) for each in (llm, task)]
            text, sentiment = (assert_completed(polled(poll, job, Path(home)), job) for job in jobs)
            assert len(text["text"].split()) > len("five"), text
            assert sentiment["sentiment"] == "positive", sentiment
            assert process.stop() == 0, process.err.text
        assert_clean(root)
        assert "Traceback" not in process.err.text, process.err.text


def assert_clean(root: BareRoot) -> None:
    """Nobody runs there, and no file is left but those of the data folder."""
    assert root.processes() == []
    left = {file for file in root.files() if not file.startswith("data/dispatchd/")}
    assert not left, left


def a_second_copy(trial: Trial) -> None:
    """A worker from another copy, in a root of its own, does the jobs of both kinds."""
    with trial.root() as here, trial.root() as there, node(here, "--no-worker") as coordinator:
        client = Client(coordinator.url())
        joining = ("worker", "--coordinator", coordinator.url())
        with dispatchd(*joining, home=_HOME, program=there.program(), **_DATA) as worker:
            client.workers(1)
            for payload in (LLM, TASK):
                job = client.until(client.commit(payload), "completed")
                assert job["receipt"]["verified"]
            assert worker.stop() == 0, worker.err.text
        assert_clean(there)
        assert coordinator.stop() == 0, coordinator.err.text


def a_kill(trial: Trial) -> None:
    """`kill -9` ends all of it at once; what was done stays, and what was not gets done."""
    with trial.root() as root:
        with node(root) as process:
            client = Client(process.url())
            done = client.until(client.commit(TASK), "completed")
            under_way = client.commit(LLM | {"max_tokens": 200, "ignore_eos": True})
            process.popen.send_signal(signal.SIGKILL)
            until(lambda: not root.processes(), "every process ends", 5)
        unpacked_folders = list(root.temporary.iterdir())
        assert len(unpacked_folders) == trial.one_file, unpacked_folders
        (database,) = root.data.rglob("monad.sqlite3")
        with sqlite3.connect(database) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        opened.close()
        with node(root) as process:
            client = Client(process.url())
            assert client.job(done["id"]) == done
            client.until(under_way, "completed")
            stale = set(unpacked_folders) & set(root.temporary.iterdir())
            assert not stale, f"{stale} of the dead process is still there"
            assert process.stop() == 0, process.err.text
        assert_clean(root)


def a_kill_amid_unpacking(trial: Trial) -> None:
    """What is left by a `kill -9` amid unpacking is removed by the next start."""
    with trial.root() as root:
        if trial.one_file:
            with node(root) as process:
                until(lambda: any(root.temporary.glob("_MEI*/*/")) or None, "it unpacks")
                process.popen.send_signal(signal.SIGKILL)
                process.popen.wait()
            assert list(root.temporary.iterdir())
        with node(root) as process:
            process.url()
            assert process.stop() == 0, process.err.text
        assert_clean(root)


def ctrl_c(trial: Trial) -> None:
    """Ctrl-C on a terminal, which all processes get, counts once."""
    with trial.root() as root:
        port = free_port()
        pid, terminal = pty.fork()
        if pid == 0:
            command = [*root.program(), "run", "--testnet", "--port", str(port)]
            os.execvpe(command[0], command, os.environ | {"HOME": "/", **_DATA})
        reader = os.fdopen(terminal, "rb")
        until(lambda: answers(port), "the node answers")
        os.write(terminal, b"\x03")
        _, status = os.waitpid(pid, 0)
        reader.close()
        assert os.waitstatus_to_exitcode(status) == 0, os.waitstatus_to_exitcode(status)
        assert_clean(root)


def everything(trial: Trial) -> None:
    """Commands, models from a hub, payments and pages work as in the package."""
    with trial.root() as root:

        def told(*arguments: str, **variables: str) -> str:
            given = _DATA | variables
            done = ended(root.program(), *arguments, **given)
            assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
            return done.stdout

        for command in _COMMANDS:
            assert "Usage" in told(command, "--help")
        # The hub sends whoever asks on to another host; a name needs something to find it by.
        root.write("etc/hosts", "127.0.0.1 localhost\n")
        with fake_hub() as hub:
            hub.repos[_REPO] = Repo(published())
            told("models", "pull", _REPO, HF_ENDPOINT=hub.url)
        told("models", "prepare", "Tiny-Chat", "--precision", "int4", "--name", "tiny-int4")
        selling = ("--payments", "simulated", "--model", "Tiny-Chat")
        with node(root, *selling) as process:
            process.out.wait_for("Tiny-Chat on cpu is ready")
            paid = json.loads(
                told(
                    *("submit", "llm", "What is a hash?", "--pay", "1", "--json"),
                    DISPATCHD_COORDINATOR=process.url(),
                )
            )
            assert paid["payment"]["state"] == "captured", paid
            assert paid["result"]["model"] == "Tiny-Chat", paid
            for path in ("/docs", "/openapi.json", "/v1/receipts/root", "/"):
                status, text = Client(process.url()).text("GET", path)
                assert status == http.HTTPStatus.OK, (path, status, text)
            assert process.stop() == 0, process.err.text
        assert_clean(root)


def all_modules(trial: Trial) -> None:
    """Every module of the package is inside."""
    with trial.root() as root:
        program = root.folder / root.inside.removeprefix("/")
        from PyInstaller.archive.readers import CArchiveReader  # noqa: PLC0415 # not with all

        archive = CArchiveReader(str(program))
        inside = set(archive.open_embedded_archive("PYZ.pyz").toc)
    missing = set(modules(_ROOT)) - inside
    assert not missing, missing


def an_old_glibc(trial: Trial) -> None:
    """No part of it wants a newer glibc than it may."""
    assert trial.glibc_max is None or trial.glibc <= trial.glibc_max, trial.glibc


def no_room(trial: Trial) -> None:
    """Where it cannot be unpacked, one sentence says why; the archive runs there all the same."""
    for options, reason in (("noexec", "noexec"), ("size=20m", "20 MB left")):
        with trial.root() as root:
            done = ended(root.program(options), "--version", **_DATA)
            if not trial.one_file:
                assert done.returncode == 0, done.stderr
                continue
            assert done.returncode != 0
            assert done.stdout == ""
            assert done.stderr.count("\n") == 1, done.stderr
            assert reason in done.stderr, done.stderr
            assert "TMPDIR" in done.stderr


def no_word(trial: Trial) -> None:
    """A whole run speaks to nobody but its clients, and looks no name up."""
    trace = Path(tempfile.mkdtemp()) / "trace"
    with trial.root() as root:
        with node(root, under=(*STRACE, str(trace))) as process:
            client = Client(process.url())
            for payload in (LLM, TASK):
                client.until(client.commit(payload), "completed")
            assert process.stop() == 0, process.err.text
        assert_clean(root)
    text = trace.read_text(encoding="utf-8", errors="replace")
    shutil.rmtree(trace.parent)
    assert {peer for peer in peers(text) if not peer.startswith("127.")} == set()
    assert look_ups(text) == []


Check = Callable[[Trial], None]
CHECKS: tuple[Check, ...] = (
    *(all_modules, an_old_glibc, the_guide, a_second_copy, a_kill, a_kill_amid_unpacking, ctrl_c),
    *(everything, no_room, no_word, figures),
)


def main() -> int:
    """Runs the checks that are asked for; the exit code is how many failed."""
    names = [check.__name__ for check in CHECKS]
    parser = argparse.ArgumentParser(prog="check_binary.py", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="single file, archive or folder")
    parser.add_argument("--runs", type=int, default=5, help="starts that are timed (5)")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--glibc", type=Version, metavar="VERSION", help="the newest that it may need (any)"
    )
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="check-binary-") as scratch:
        trial = Trial(options, Path(scratch))
        for check in CHECKS:
            if check.__name__ not in options.only:
                continue
            if check is no_word and shutil.which("strace") is None:
                print("skipped no_word: needs program: strace")
                continue
            try:
                check(trial)
            except (AssertionError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"FAILED {check.__name__}: {error}", flush=True)
            else:
                print(f"ok {check.__name__}: {(check.__doc__ or '').splitlines()[0]}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
