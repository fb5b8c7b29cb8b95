"""The single file's two processes live and die together, and what dead ones left is cleared."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dispatchd.onefile import clear_stale, occupy, settle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders are locked by Windows")

OCCUPY = "import sys; from pathlib import Path; from dispatchd.onefile import occupy;"
OCCUPY += "occupy(Path(sys.argv[1])); print('there', flush=True); sys.stdin.read()"
CHILD = "import sys; from dispatchd.onefile import end_with; end_with(int(sys.argv[1]));"
CHILD += "print('there', flush=True); sys.stdin.read()"
PARENT = (
    "import os, subprocess, sys;"
    "subprocess.run([sys.executable, '-c', sys.argv[1], str(os.getpid() + int(sys.argv[2]))])"
)


def ended_process() -> int:
    """The number of a process that is no more."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def unpacked(temporary: Path, process: int, tail: str = "abcdef") -> Path:
    folder = temporary / f"_MEI{process:08x}{tail}"
    (folder / "inside").mkdir(parents=True)
    (folder / "inside/library.so").write_text("x")
    return folder


def program(*arguments: str) -> "subprocess.Popen[str]":
    """A Python program that has said that it is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "there\n"
    return process


def close(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_a_folder_is_cleared_once_its_process_is_dead(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, ended_process())
    process = program(OCCUPY, str(folder))
    try:
        clear_stale(tmp_path)
        assert (folder / "inside/library.so").is_file()
    finally:
        close(process)
    clear_stale(tmp_path)
    assert not folder.exists()


def test_what_is_not_certainly_ours_and_dead_stays(tmp_path: Path) -> None:
    dead = ended_process()
    other, living, unmarked = (
        unpacked(tmp_path, dead, "other1"),
        unpacked(tmp_path, os.getpid()),
        unpacked(tmp_path, dead, "nolock"),
    )
    strange = tmp_path / "_MEIwithout"
    strange.mkdir()
    for folder in (living, strange, victim := unpacked(tmp_path / "victim", dead)):
        (folder / "dispatchd.lock").touch()
    (tmp_path / f"_MEI{dead:08x}linked").symlink_to(victim)
    (other / "dispatchd.lock").symlink_to(victim / "dispatchd.lock")
    clear_stale(tmp_path)
    assert all(folder.is_dir() for folder in (other, living, unmarked, strange))
    assert (victim / "inside/library.so").is_file()


def test_a_folder_is_cleared_though_its_dead_process_had_the_number_of_this_one_s_parent(
    tmp_path: Path,
) -> None:
    stale, mine = (unpacked(tmp_path, os.getppid(), tail) for tail in ("before", "itself"))
    (stale / "dispatchd.lock").touch()
    occupy(mine)
    clear_stale(tmp_path)
    assert (stale.exists(), mine.is_dir()) == (False, True)


def test_a_folder_is_never_found_unlocked(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, ended_process())
    occupy(folder)
    assert [file.name for file in folder.glob("*.lock*")] == ["dispatchd.lock"]
    clear_stale(tmp_path)
    assert folder.is_dir()


def test_a_child_ends_when_its_parent_is_killed() -> None:
    parent = program(PARENT, CHILD, "0")
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    assert parent.stdout
    assert parent.stdout.read() == ""  # at its end, so the child has let go of it
    close(parent)


def test_a_child_whose_parent_is_gone_before_ends_at_once() -> None:
    command = [sys.executable, "-c", PARENT, CHILD, "1"]  # that one never was its parent
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_nothing_is_settled_where_nothing_was_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = unpacked(tmp_path, ended_process())
    (stale / "dispatchd.lock").touch()
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path / "_internal"), raising=False)
    settle()
    monkeypatch.delattr(sys, "_MEIPASS")
    settle()
    assert stale.is_dir()
