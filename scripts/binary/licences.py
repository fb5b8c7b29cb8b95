"""The list of what is inside a binary: packages, Python, libraries of the machine, and licences."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from msgspec import Struct
from packaging.utils import canonicalize_name

from scripts.binary.contents import distributions
from scripts.binary.naming import version

_ALSO_INSIDE = ("pyinstaller",)  # its bootloader starts the program
_TEXTS = ("LICENSE", "LICENCE", "COPYING", "NOTICE")
_UNKNOWN = "not said"
_NO_FILE = "-"  # what PyInstaller says of a folder that is a module without a file


class Part(Struct, frozen=True, order=True):
    """Somebody's work that is inside, and the texts under which it may be."""

    name: str
    version: str
    licence: str
    texts: tuple[str, ...]


def inventory(root: Path, inside: Iterable[tuple[str, str]]) -> str:
    """The list, and all licence texts after it.

    `inside` are modules and shared libraries: the name in the binary, the file on this machine.
    """
    names, files = zip(*inside, strict=True)
    parts = [
        Part("dispatchd", version(root), "Apache-2.0", ((root / "LICENSE").read_text("utf-8"),)),
        _python(),
        *(_package(each) for each in _packages(root, names)),
        *(_package(metadata.distribution(name)) for name in _ALSO_INSIDE),
        *_machine_parts(file for file in files if file != _NO_FILE and not file.endswith(".py")),
    ]
    table = "\n".join(f"{part.name} {part.version}: {part.licence}" for part in parts)
    texts = "\n".join(
        f"\n{'=' * 80}\n{part.name}\n{'=' * 80}\n\n{text.strip()}\n"
        for part in parts
        for text in part.texts
    )
    return f"What is inside, and under which licences. The texts follow.\n\n{table}\n{texts}"


def _python() -> Part:
    text = Path(os.__file__).with_name("LICENSE.txt")
    texts = (text.read_text("utf-8"),) if text.is_file() else ()
    return Part("CPython", platform.python_version(), "PSF-2.0", texts)


def _packages(root: Path, names: Iterable[str]) -> Iterator[metadata.Distribution]:
    """What the node needs, as far as some of it is inside."""
    homes = metadata.packages_distributions()
    tops = {re.split(r"[./\\]", name, maxsplit=1)[0] for name in names}
    owners = {canonicalize_name(owner) for top in tops for owner in homes.get(top, ())}
    yield from (each for name, each in distributions(root).items() if name in owners)


def _package(distribution: metadata.Distribution) -> Part:
    told = distribution.metadata
    licence = told["License-Expression"] or _classified(told.get_all("Classifier") or ())
    short = (told["License"] or _UNKNOWN).strip().partition("\n")[0]
    files = sorted(
        (file for file in distribution.files or () if file.name.upper().startswith(_TEXTS)), key=str
    )
    texts = tuple(file.read_text("utf-8") for file in files if file.suffix != ".py")
    return Part(told["Name"], distribution.version, licence or short, texts)


def _classified(classifiers: Iterable[str]) -> str:
    licences = [each.split(" :: ") for each in classifiers if each.startswith("License :: ")]
    return ", ".join(each[-1] for each in licences if each[-1] != "OSI Approved")


def _machine_parts(files: Iterable[str]) -> Iterator[Part]:
    """The libraries that belong to neither a package nor Python, by the package of the system's."""
    ours = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    foreign = sorted(
        {
            resolved
            for file in files
            if not any((resolved := Path(file).resolve()).is_relative_to(home) for home in ours)
        }
    )
    yield from sorted({_system_package(file) for file in foreign})


def _system_package(file: Path) -> Part:
    owner = _debian_owner(file)
    if owner is None:
        return _compiled_here(file)
    name, its_version = owner
    copyright_file = Path("/usr/share/doc") / name / "copyright"
    text = copyright_file.read_text("utf-8", "replace") if copyright_file.is_file() else ""
    return Part(name, its_version, "see its text", (text,) if text else ())


def _compiled_here(file: Path) -> Part:
    """From a folder NAME-VERSION that holds its licence, as debian11.sh makes them, or nobody's."""
    home = file.parents[1]
    licence = home / "LICENSE.txt"
    name, _, its_version = home.name.rpartition("-")
    if not name or not licence.is_file():
        return Part(file.name, "of the builder's machine", _UNKNOWN, ())
    return Part(name, its_version, "see its text", (licence.read_text("utf-8"),))


def _debian_owner(file: Path) -> tuple[str, str] | None:
    if shutil.which("dpkg-query") is None:
        return None
    for shown in (file, Path("/", *file.parts[2:])):  # /usr/lib may be registered as /lib
        found = subprocess.run(
            ["dpkg-query", "--search", shown], capture_output=True, text=True, check=False
        )
        if found.returncode == 0:
            name = found.stdout.partition(":")[0]
            asked = ["dpkg-query", "--show", "--showformat=${Version}\n", name]
            return name, subprocess.check_output(asked, text=True).partition("\n")[0]
    return None
