"""Which glibc a binary needs is read from all that is in it."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.version import Version

from scripts.binary.glibc import NONE, elf_files, oldest_glibc, wanted

NEEDS = """\
Version needs section '.gnu.version_r' contains 2 entries:
 Addr: 0x0000000000001718  Offset: 0x00001718  Link: 7 (.dynstr)
  0x0020: Version: 1  File: libc.so.6  Cnt: 3
  0x0030:   Name: GLIBC_2.4  Flags: none  Version: 12
  0x0040:   Name: GLIBC_2.28  Flags: none  Version: 11
  0x0050:   Name: GLIBC_2.3.4  Flags: none  Version: 10
  0x0060: Version: 1  File: libstdc++.so.6  Cnt: 2
  0x0070:   Name: GLIBCXX_3.4.29  Flags: none  Version: 9
"""
RELR = "  0x0080:   Name: GLIBC_ABI_DT_RELR  Flags: none  Version: 8\n"


@pytest.mark.parametrize(
    ("text", "version"),
    [(NEEDS, Version("2.28")), (NEEDS + RELR, Version("2.36")), ("", NONE)],
    ids=["symbols", "packed relocations", "none"],
)
def test_the_newest_symbol_counts_as_a_number(text: str, version: Version) -> None:
    assert wanted(text) == version


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs program: readelf")
def test_every_library_of_a_folder_is_looked_at(tmp_path: Path) -> None:
    library = next(Path(np.__file__).parent.rglob("*.so"))
    folder = tmp_path / "program/_internal"
    folder.mkdir(parents=True)
    (folder.parent / "licences.txt").write_text(NEEDS)
    shutil.copy(library, folder)
    assert [file.name for file in elf_files(folder.parent, tmp_path)] == [library.name]
    assert (
        NONE < oldest_glibc(elf_files(folder.parent, tmp_path)) <= Version(platform.libc_ver()[1])
    )


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs program: readelf")
def test_what_cannot_be_read_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "library.so").write_bytes(b"\x7fELF")
    with pytest.raises(subprocess.CalledProcessError):
        oldest_glibc(elf_files(tmp_path, tmp_path))
