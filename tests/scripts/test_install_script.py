"""`scripts/install.sh` takes the right binary from a release, and none whose sum is wrong."""

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.process import clean_environment

SCRIPT = Path(__file__).parents[2] / "scripts/install.sh"
LINUX, ARM, CUDA = (
    f"dispatchd-0.1.0-{kind}" for kind in ("linux-x86_64", "linux-arm64", "linux-x86_64-cuda")
)
PROGRAM = "#!/bin/sh\necho this is {name}\n"
UNAME = '#!/bin/sh\ncase $1 in -s) echo "{system}" ;; -m) echo "{machine}" ;; esac\n'

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs program: curl")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word on stderr."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with a release's files."""
    folder = tmp_path / "release"
    folder.mkdir()
    for name in (LINUX, f"{LINUX}.tar.gz", f"{LINUX}-licences.txt", ARM, CUDA):
        publish(folder, name, PROGRAM.format(name=name))
    return folder


@pytest.fixture
def url(release: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(release)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def publish(release: Path, name: str, content: str) -> None:
    """Adds a file to the release, or replaces it."""
    (release / name).write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    sums = release / "SHA256SUMS"
    others = sums.read_text().splitlines() if sums.exists() else []
    kept = [line for line in others if not line.endswith(f"  {name}")]
    sums.write_text("\n".join([*kept, f"{digest}  {name}", ""]))


def install(
    tmp_path: Path, *arguments: str, machine: str = "x86_64", system: str = "Linux", **more: str
) -> subprocess.CompletedProcess[str]:
    """Runs the script as if on that machine."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "uname").write_text(UNAME.format(system=system, machine=machine))
    (programs / "uname").chmod(0o755)
    environment = clean_environment(tmp_path, **more)
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    command = ["sh", str(SCRIPT), *arguments]
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("machine", "flavour", "name"),
    [("x86_64", {}, LINUX), ("aarch64", {}, ARM), ("amd64", {"FLAVOUR": "cuda"}, CUDA)],
)
def test_the_right_binary_is_installed(
    tmp_path: Path, url: str, machine: str, flavour: dict[str, str], name: str
) -> None:
    done = install(tmp_path, url, machine=machine, **flavour)
    assert done.returncode == 0, done.stderr
    program = tmp_path / ".local/bin/dispatchd"
    assert subprocess.check_output([program], text=True) == f"this is {name}\n"
    assert f"{program.parent} is not in PATH yet" in done.stdout


def test_a_binary_with_another_sum_is_refused(tmp_path: Path, url: str, release: Path) -> None:
    (release / LINUX).write_text("#!/bin/sh\necho somebody else's\n")
    done = install(tmp_path, f"{url}/", str(tmp_path / "bin"))
    assert done.returncode == 1
    assert "do not run it" in done.stderr
    assert not (tmp_path / "bin").exists()


def test_a_folder_may_be_named_from_where_one_is(tmp_path: Path, url: str) -> None:
    done = install(tmp_path, url, "my/bin")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/my/bin/dispatchd is there" in done.stdout
    assert (tmp_path / "my/bin/dispatchd").is_file()


def test_an_earlier_one_is_replaced_and_stays_if_the_new_is_not_whole(
    tmp_path: Path, url: str, release: Path
) -> None:
    assert install(tmp_path, url).returncode == 0
    publish(release, LINUX, PROGRAM.format(name="the next"))
    assert install(tmp_path, url).returncode == 0
    (release / LINUX).write_text("#!/bin/sh\necho half of")
    assert install(tmp_path, url).returncode == 1
    program = tmp_path / ".local/bin/dispatchd"
    assert subprocess.check_output([program], text=True) == "this is the next\n"


def test_a_binary_that_is_listed_but_missing(tmp_path: Path, url: str, release: Path) -> None:
    (release / LINUX).unlink()
    done = install(tmp_path, url)
    assert done.returncode == 1
    assert f"{LINUX} cannot be had" in done.stderr
    assert not (tmp_path / ".local").exists()


def test_two_binaries_for_one_machine(tmp_path: Path, url: str, release: Path) -> None:
    publish(release, LINUX.replace("0.1.0", "0.2.0"), PROGRAM.format(name="the next"))
    done = install(tmp_path, url)
    assert done.returncode == 1
    assert "has several binaries for linux-x86_64" in done.stderr


def test_a_binary_that_does_not_run_here(tmp_path: Path, url: str, release: Path) -> None:
    assert install(tmp_path, url).returncode == 0
    works = (tmp_path / ".local/bin/dispatchd").read_bytes()
    publish(release, LINUX, "#!/bin/sh\necho no such library >&2\nexit 127\n")
    done = install(tmp_path, url)
    assert [each.read_bytes() for each in (tmp_path / ".local/bin").iterdir()] == [works]
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("no such library\n")
    assert "does not run here, and is not installed; on Linux it needs glibc 2.31" in done.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"machine": "riscv64"}, "there is no binary for riscv64"),
        ({"system": "Plan9"}, "there is no binary for Plan9"),
        ({"system": "Darwin"}, "has no binary for macos-x86_64"),
        ({"FLAVOUR": "rocm"}, "FLAVOUR is cpu or cuda"),
    ],
)
def test_what_there_is_no_binary_for(
    tmp_path: Path, url: str, options: dict[str, str], sentence: str
) -> None:
    done = install(tmp_path, url, **options)
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr


def test_a_release_that_is_not_there(tmp_path: Path, url: str) -> None:
    done = install(tmp_path, f"{url}/nowhere")
    assert done.returncode == 1
    assert "nowhere has no SHA256SUMS" in done.stderr
    assert "say where the release is" in install(tmp_path).stderr
