"""PyInstaller's bootloader for Linux, compiled from its published source with `room.c` added."""

import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ADDED = Path(__file__).with_name("room.c")
CHANGES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "pyi_main.c": {
            "static int\n_pyi_main_onefile_parent(struct PYI_CONTEXT *pyi_ctx)\n{": (
                "int dispatchd_has_room(const struct PYI_CONTEXT *context);\n\n"
                "static int\n_pyi_main_onefile_parent(struct PYI_CONTEXT *pyi_ctx)\n{"
            ),
            "    if (pyi_launch_extract_files_from_archive(pyi_ctx) < 0) {": (
                "    if (!dispatchd_has_room(pyi_ctx)\n"
                "        || pyi_launch_extract_files_from_archive(pyi_ctx) < 0) {\n"
                "        pyi_recursive_rmdir(pyi_ctx->application_home_dir);"
            ),
            'PYI_ERROR("Could not create temporary directory!\\n");': (
                "extern void dispatchd_has_no_folder(void);\n"
                "                dispatchd_has_no_folder();"
            ),
        },
        "pyi_utils_posix.c": {
            "        signal(signum, signal_handler);": (
                "        extern void dispatchd_pass_on(int signum, sighandler_t handler);\n"
                "        dispatchd_pass_on(signum, signal_handler);"
            ),
        },
    }
)
"""What is replaced in the source, and by what; each text stands there once."""


def build_bootloader(python: Path, constraints: Path, scratch: Path) -> None:
    """Puts the bootloader into that environment's PyInstaller. It needs a C compiler and zlib.h.

    Raises CalledProcessError where the source cannot be had or compiled, SystemExit where it is
    not the one that is known here.
    """
    source = _source(python, constraints, scratch)
    change(source / "bootloader/src")
    subprocess.run([python, "waf", "all"], cwd=source / "bootloader", check=True)
    told = "import PyInstaller as p; print(p.HOMEPATH, p.PLATFORM, sep='\\n')"
    home, platform = subprocess.check_output([python, "-c", told], text=True).splitlines()
    place = Path("PyInstaller/bootloader") / platform
    for program in ("run", "run_d"):
        shutil.copy(source / place / program, Path(home) / place / program)


def change(sources: Path) -> None:
    """Adds our file to the bootloader's, and the calls to it."""
    shutil.copy(ADDED, sources)
    for name, replacements in CHANGES.items():
        file = sources / name
        text = file.read_text(encoding="utf-8")
        for old, new in replacements.items():
            if text.count(old) != 1:
                raise SystemExit(f"room.c is for another {name}: {old!r} is not there once.")
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")


def _source(python: Path, constraints: Path, scratch: Path) -> Path:
    wanted = scratch / "pyinstaller.txt"
    wanted.write_text(_locked(constraints, "pyinstaller"), encoding="utf-8")
    pip: list[str | Path] = [python, "-m", "pip", "download", "--no-deps", "--no-binary=:all:"]
    options: list[str | Path] = ["--no-build-isolation", "--require-hashes", "--dest", scratch]
    subprocess.run([*pip, *options, "-r", wanted], check=True)
    (archive,) = scratch.glob("pyinstaller-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
    return scratch / archive.name.removesuffix(".tar.gz")


def _locked(constraints: Path, name: str) -> str:
    """What a file of requirements says of one package, with its hashes."""
    blocks = constraints.read_text(encoding="utf-8").split("\n" + name + "==")
    if len(blocks) != 2:  # before and after it
        raise SystemExit(f"{constraints} does not lock {name}: compile it with --group build.")
    lines = (name + "==" + blocks[1]).splitlines()
    return "\n".join([lines[0], *(line for line in _indented(lines[1:]) if "#" not in line)]) + "\n"


def _indented(lines: list[str]) -> list[str]:
    last = next((at for at, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    return lines[:last]
