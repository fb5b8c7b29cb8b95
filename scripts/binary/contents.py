"""What goes into the binary: our modules and data, and what of the environment they need."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Flavour = Literal["cpu", "cuda"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)

Place = tuple[str, str]
"""A file on this machine, and the folder of the binary that it goes to."""

_SOURCES = {".py", ".pyi", ".pyc"}
_MODULES = {".py", ".so", ".pyd"}
# Of NVIDIA's libraries none is ours to give away; those of this machine fit no other.
_NVIDIA = re.compile(r"(lib)?(cu(da|blas|dnn|fft|rand|solver|sparse|pti)|nv)", re.IGNORECASE)
_PROVIDER = re.compile(r"(lib)?onnxruntime_providers_(tensorrt|cuda)\b")

# What pip writes of an installation; RECORD holds sums of programs that name their folder.
_OF_AN_INSTALLATION = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"}

LEFT_OUT = (
    "hf_xet",  # our downloads go through plain HTTP
    "multiprocessing",  # nobody here starts such processes, and PyInstaller would load it each time
    "onnxruntime.quantization",
    "onnxruntime.tools",
    "onnxruntime.transformers",
    "readline",  # under the GPL
    "tkinter",
)
"""Modules that others offer to import and the node never does."""


def modules(root: Path) -> list[str]:
    """Every module of the package by name; some are imported by name only."""
    files = sorted((root / "dispatchd").rglob("*.py"))
    parts = (file.relative_to(root).with_suffix("").parts for file in files)
    return [".".join(each[:-1] if each[-1] == "__init__" else each) for each in parts]


def unseen_modules(root: Path) -> list[str]:
    """Every compiled module of what the node needs, and all that lies beside one.

    What compiled code imports cannot be seen from outside, and is mostly its neighbour.
    """
    files = [file for each in distributions(root).values() for file in each.files or ()]
    compiled = {file.parent for file in files if file.name.endswith(tuple(EXTENSION_SUFFIXES))}
    parts = (
        [*file.parent.parts, file.name.partition(".")[0]]
        for file in files
        if file.parent in compiled and file.suffix in _MODULES and not file.name.startswith("lib")
    )
    names = {".".join(each) for each in parts if all(part.isidentifier() for part in each)}
    return sorted(
        name for name in names if not re.search("test|__", name) and not name.startswith(LEFT_OUT)
    )


def data_files(root: Path) -> list[Place]:
    """Every file of the package that is no source, and the models, where a wheel has them."""
    homes = {root / "dispatchd": PurePath("dispatchd"), root / "models": _models_home(root)}
    return [
        (str(file), (home / file.relative_to(folder)).parent.as_posix())
        for folder, home in homes.items()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix not in _SOURCES
    ]


def keeps(library: str, flavour: Flavour) -> bool:
    """Whether a library with this name goes into the binary.

    >>> keeps("onnxruntime/capi/libonnxruntime_providers_cuda.so", "cpu")
    False
    """
    name = PurePath(library).name
    if provider := _PROVIDER.match(name):
        return provider[2] == flavour
    return not _NVIDIA.match(name)


def same_anywhere(file: str) -> bool:
    """Whether that data file is the same wherever its package is installed.

    >>> same_anywhere("tqdm-4.70.1.dist-info/RECORD")
    False
    """
    path = PurePath(file)
    return path.parent.suffix != ".dist-info" or path.name not in _OF_AN_INSTALLATION


def distributions(root: Path) -> Mapping[str, metadata.Distribution]:
    """The installed packages that the node needs, by name, with all that those need in turn."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [Requirement(line) for line in _pyproject(root)["project"]["dependencies"]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) in seen or not _applies(wanted):
                continue
            seen.add((name, extra))
            found[name] = metadata.distribution(name)
            waiting += _requirements(found[name], extra)
    return dict(sorted(found.items()))


def strangers(root: Path) -> list[str]:
    """Top-level modules of this environment that come with no package which the node needs.

    What the node needs offers to work with many others where they are installed; left to itself,
    the binary would grow with the builder's environment.
    """
    needed = distributions(root).keys()
    homes = metadata.packages_distributions()
    return sorted(
        name
        for name, owners in homes.items()
        if not needed & {canonicalize_name(owner) for owner in owners}
        and name not in sys.stdlib_module_names
    )


def _requirements(distribution: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    for line in distribution.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None:
            if not extra:
                yield requirement
        elif requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _applies(requirement: Requirement) -> bool:
    marker = requirement.marker
    return marker is None or "extra" in str(marker) or marker.evaluate()


def _models_home(root: Path) -> PurePath:
    wheel = _pyproject(root)["tool"]["hatch"]["build"]["targets"]["wheel"]
    return PurePath(wheel["force-include"]["models"])


def _pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
