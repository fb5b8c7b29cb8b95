"""The oldest glibc that a program and the libraries which come with it run with."""

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.version import Version

_ELF = b"\x7fELF"
_SYMBOLS = re.compile(r"Name: GLIBC_(?P<version>\d+(?:\.\d+)+)\s")
# A linker may pack relocations; it then asks for the glibc that can unpack them by this name.
_MARKS = {"Name: GLIBC_ABI_DT_RELR ": Version("2.36")}
NONE = Version("0")


def oldest_glibc(files: Iterable[Path]) -> Version:
    """The newest version that a symbol which one of these ELF files wants came with.

    It is 0 where none wants a symbol of glibc's. It needs the program readelf.
    """
    return max((wanted(_version_info(file)) for file in files), default=NONE)


def wanted(text: str) -> Version:
    """The same, from what `readelf --version-info` says of one file."""
    symbols = [Version(found["version"]) for found in _SYMBOLS.finditer(text)]
    marks = [version for mark, version in _MARKS.items() if mark in text]
    return max([*symbols, *marks], default=NONE)


def elf_files(program: Path, scratch: Path) -> Iterator[Path]:
    """What is ELF in that folder, or in that single file, whose parts go to the scratch folder."""
    if program.is_dir():
        yield from (file for file in program.rglob("*") if file.is_file() and _is_elf(file))
        return
    yield program
    from PyInstaller.archive.readers import CArchiveReader  # noqa: PLC0415 # not with all

    archive = CArchiveReader(str(program))
    for number, name in enumerate(archive.toc):
        part = scratch / str(number)
        part.write_bytes(archive.extract(name))
        if _is_elf(part):
            yield part


def _is_elf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_ELF)) == _ELF


def _version_info(file: Path) -> str:
    command: list[str | Path] = ["readelf", "--version-info", "--wide", file]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
