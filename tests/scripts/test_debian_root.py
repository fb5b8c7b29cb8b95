"""`scripts/binary/debian11.sh` says what it lacks before it makes anything."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.process import clean_environment

SCRIPT = Path(__file__).parents[2] / "scripts/binary/debian11.sh"
SOURCES = ("Python-3.13.9.tar.xz", "openssl-3.5.4.tar.gz", "sqlite-autoconf-3500400.tar.gz")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs program: bash")


def build(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the script as if there were no debootstrap."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "debootstrap").write_text("#!/bin/sh\necho no debootstrap >&2\nexit 3\n")
    (programs / "debootstrap").chmod(0o755)
    environment = clean_environment(tmp_path)
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["bash", SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("more", "less", "sentence"),
    [
        ((), SOURCES[:1], "holds 0 of Python-3.13.*"),
        ((), SOURCES[1:2], "holds 0 of openssl-3.*"),
        ((), SOURCES[2:], "holds 0 of sqlite-*"),
        (("Python-3.13.10.tar.xz",), (), "holds 2 of Python-3.13.*"),
        (("openssl-3.5.4.tar.gz.asc", "notes.txt"), (), "no debootstrap"),
    ],
    ids=["no Python", "no OpenSSL", "no SQLite", "two Pythons", "all, and a signature"],
)
def test_sources_that_are_not_one_of_each(
    tmp_path: Path, more: tuple[str, ...], less: tuple[str, ...], sentence: str
) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in {*SOURCES, *more} - {*less}:
        (sources / name).touch()
    done = build(tmp_path, str(tmp_path / "root"), str(sources), str(tmp_path / "dist"))
    assert done.returncode != 0
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "root").exists()
    assert not (tmp_path / "dist").exists()


def test_without_arguments_it_says_how(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 2
    assert "debian11.sh ROOT SOURCES DIST [OPTION…]" in done.stderr
