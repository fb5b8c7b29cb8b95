"""What a binary is called: `dispatchd-VERSION-OS-ARCH`, with the flavour where it is not cpu."""

import platform
import re
from pathlib import Path

_ARCHITECTURES = {"amd64": "x86_64", "aarch64": "arm64"}
_SYSTEMS = {"darwin": "macos"}


def version(root: Path) -> str:
    """The version of the package in that folder, which need not be installed."""
    text = (root / "dispatchd/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("dispatchd/__init__.py says no version.")
    return found[1]


def name_of(root: Path, flavour: str) -> str:
    """The name for one that is built from that folder on this machine."""
    machine, system = platform.machine().lower(), platform.system().lower()
    parts = [
        "dispatchd",
        version(root),
        _SYSTEMS.get(system, system),
        _ARCHITECTURES.get(machine, machine),
        *([] if flavour == "cpu" else [flavour]),
    ]
    return "-".join(parts)
