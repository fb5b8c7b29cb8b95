"""Builds the single file, and an archive of the same, from locked parts, for this machine."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.binary.archive import pack, sums
from scripts.binary.bootloader import build_bootloader
from scripts.binary.naming import name_of

ROOT = Path(__file__).parents[2]
_FLAVOURS = ("cpu", "cuda")
_SUMS = "SHA256SUMS"
_KEPT = ("PATH", "HOME", "TMPDIR", "TEMP", "SYSTEMROOT", "USERPROFILE", "PATHEXT")


def main() -> None:
    """Makes the environment, builds and checks each flavour, sums up all that is in the folder."""
    options = _options()
    dist: Path = options.dist.resolve()
    dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-binary-") as name:
        scratch = Path(name)
        python = options.python or _environment(scratch / "environment", options.constraints)
        if sys.platform == "linux":
            _with_our_bootloader(python, options.constraints, scratch)
        for flavour in options.flavour:
            files = _built(python, flavour, scratch / flavour, dist)
            if not options.no_check and sys.platform == "linux":
                for file in files:
                    _check(python, file, options.glibc)
    built = (file for file in dist.glob("dispatchd-*") if file.is_file())
    (dist / _SUMS).write_text(sums(built), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build_binary.py", description=__doc__)
    parser.add_argument("--flavour", nargs="+", choices=_FLAVOURS, default=["cpu"])
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where it goes (dist)")
    parser.add_argument(
        "--constraints",
        type=Path,
        default=ROOT / ".ci/constraints.txt",
        help="what is installed, with hashes (.ci/constraints.txt)",
    )
    parser.add_argument("--python", type=Path, help="an environment that has all this already")
    parser.add_argument("--no-check", action="store_true", help="do not run check_binary.py")
    parser.add_argument("--glibc", metavar="VERSION", help="the newest that it may need (any)")
    return parser.parse_args()


def _environment(folder: Path, constraints: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--require-hashes"]
    subprocess.run([*pip, "-r", constraints], check=True)
    return python


def _with_our_bootloader(python: Path, constraints: Path, scratch: Path) -> None:
    folder = scratch / "bootloader"
    folder.mkdir()
    build_bootloader(python, constraints.resolve(), folder)


def _built(python: Path, flavour: str, work: Path, dist: Path) -> list[Path]:
    """The single file, and the archive with the same as a folder."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _commit_time()
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
        "DISPATCHD_FLAVOUR": flavour,
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": epoch,
        "TZ": "UTC",
    }
    folders: list[str | Path] = ["--distpath", work / "out", "--workpath", work / "work"]
    spec = ROOT / "pyinstaller.spec"
    command: list[str | Path] = [python, "-m", "PyInstaller", "--noconfirm", *folders, spec]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    name = name_of(ROOT, flavour)
    suffix, packed = (".exe", ".zip") if sys.platform == "win32" else ("", ".tar.gz")
    single, archive = dist / f"{name}{suffix}", dist / f"{name}{packed}"
    shutil.copy(work / f"out/onefile{suffix}", single)
    folder = (work / "out/onedir").rename(work / name)
    pack(folder, archive, int(epoch))
    shutil.copy(work / "out/licences.txt", dist / f"{name}-licences.txt")
    return [single, archive]


def _check(python: Path, file: Path, glibc: str | None) -> None:
    check: list[str | Path] = [python, ROOT / "scripts/check_binary.py", file]
    limit = [] if glibc is None else ["--glibc", glibc]
    subprocess.run([*check, *limit], cwd=ROOT, check=True)


def _commit_time() -> str:
    asked = ["git", "log", "-1", "--format=%ct"]
    return subprocess.check_output(asked, cwd=ROOT, text=True).strip()


if __name__ == "__main__":
    main()
