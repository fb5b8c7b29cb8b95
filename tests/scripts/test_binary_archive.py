"""Archives and sums of the binary: the same files give the same bytes."""

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.binary.archive import pack, sums
from scripts.binary.bootloader import CHANGES, change

EPOCH = 1_700_000_000


def folder(parent: Path, *names: str) -> Path:
    home = parent / "node"
    home.mkdir(parents=True)
    for name in names:
        file = home / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    (home / "program").chmod(0o700)
    return home


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_an_archive_depends_on_its_files_alone(tmp_path: Path, suffix: str) -> None:
    names = ("program", "b", "a", "inside/c")
    archives = []
    for number, order in enumerate((names, names[::-1])):
        home = folder(tmp_path / str(number), *order)
        os.utime(home / "a", (number + 1, number + 1))
        (home / "b").chmod(0o640 if number else 0o600)
        archives.append(tmp_path / f"{number}{suffix}")
        pack(home, archives[-1], EPOCH)
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_an_archive_holds_the_folder(tmp_path: Path) -> None:
    home = folder(tmp_path, "program", "inside/c")
    (home / "link").symlink_to("program")
    pack(home, tmp_path / "x.tar.gz", EPOCH)
    with tarfile.open(tmp_path / "x.tar.gz") as opened:
        modes = {member.name: (member.mode, member.mtime) for member in opened}
        assert opened.getmember("node/link").linkname == "program"
        opened.extractall(tmp_path / "out", filter="data")
    assert modes["node/program"] == (0o755, EPOCH)
    assert modes["node/inside/c"] == (0o644, EPOCH)
    assert (tmp_path / "out/node/inside/c").read_text() == "inside/c"
    pack(home, tmp_path / "x.zip", EPOCH)
    with zipfile.ZipFile(tmp_path / "x.zip") as packed:
        assert sorted(packed.namelist()) == ["node/inside/c", "node/link", "node/program"]


def test_the_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    (tmp_path / "SHA256SUMS").write_text(sums([tmp_path / "b", tmp_path / "a"]))
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a: OK\nb: OK\n")


def test_the_bootloader_is_changed_where_it_is_known(tmp_path: Path) -> None:
    for name, replacements in CHANGES.items():
        (tmp_path / name).write_text("\n".join(["/* */", *replacements, "/* */"]))
    change(tmp_path)
    changed = (tmp_path / "pyi_main.c").read_text()
    assert "dispatchd_has_room(pyi_ctx)" in changed
    assert "Could not create temporary directory" not in changed
    assert "retcode = dispatchd_extract(" in (tmp_path / "pyi_launch.c").read_text()
    assert all((tmp_path / name).is_file() for name in ("room.c", "unpack.c"))
    with pytest.raises(SystemExit, match="is not there once"):
        change(tmp_path)
