"""A root folder for one program, which holds nothing else: no Python, no shell; a libc and libz."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

# All that glibc itself is made of: a program may be linked with any of it, and it loads by itself,
# until 2.33, what looks names up.
_LIBC = ("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1")
_NAMES = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
_LIBRARIES = (*_LIBC, *_NAMES, "libz.so.1")
_PLACES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
# The mounts end with the namespace. /proc is there wherever programs run at all.
_LOCK_IN = """\
mount --rbind /proc "$0/proc" || exit
if [ -n "$1" ]; then mount -t tmpfs -o "$1" none "$0/tmp" || exit; fi
shift
exec chroot "$0" "$@"
"""


class BareRoot:
    """The folder, with its own copy of the program; needs `unshare` and may need to be root."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.data = folder / "data"
        for name in ("proc", "tmp", "data", "opt"):
            (folder / name).mkdir(parents=True)
        self.temporary.chmod(0o1777)
        for library in _libraries():
            place = folder / library.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
        if program.is_dir():
            shutil.copytree(program, folder / "opt/node", symlinks=True)
            self.inside = "/opt/node/dispatchd"
        else:
            shutil.copy(program, folder / "opt/dispatchd")
            self.inside = "/opt/dispatchd"

    def program(self, temporary: str = "") -> list[str]:
        """The words that start it there; `temporary` are options of a tmpfs over /tmp, if any."""
        mapped = [] if os.getuid() == 0 else ["--map-root-user"]
        return [
            *("unshare", "--mount", *mapped, "sh", "-c", _LOCK_IN, str(self.folder)),
            *(temporary, self.inside),
        ]

    def write(self, path: str, text: str) -> None:
        """Adds a file that every machine has, before anything is started there."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def processes(self) -> list[int]:
        """Who runs in it."""
        return [int(each.name) for each in Path("/proc").glob("[0-9]*") if self._holds(each)]

    def files(self) -> set[str]:
        """Every file in it but what it was made with, by path inside."""
        made = ("lib", "lib64", "usr", "opt", "proc", "etc")
        return {
            str(file.relative_to(self.folder))
            for top in self.folder.iterdir()
            if top.name not in made
            for file in (top, *top.rglob("*"))
            if not file.is_dir() or file.parent == self.temporary
        }

    def _holds(self, process: Path) -> bool:
        try:
            there = (process / "root").stat()
        except OSError:  # it is gone, or nobody's business
            return False
        here = self.folder.stat()
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def unpacked(file: Path, scratch: Path) -> Path:
    """The program in that file: itself, or the folder that the archive holds."""
    if file.is_dir() or not file.name.endswith(".tar.gz"):
        return file
    with tarfile.open(file) as packed:
        packed.extractall(scratch, filter="data")
    (folder,) = scratch.iterdir()
    return folder


def _libraries() -> Iterator[Path]:
    """Their files on this machine, found as the dynamic linker finds them, and the linker."""
    yield next(
        loader for place in ("/lib64", "/lib") for loader in sorted(Path(place).glob("ld-linux*"))
    )
    known = subprocess.check_output(["ldconfig", "-p"], text=True, env={"PATH": "/sbin:/usr/sbin"})
    found: dict[str, Path] = {}
    for line in known.splitlines():
        name, _, path = line.strip().partition(" => ")
        if path.startswith(_PLACES):
            found.setdefault(name.partition(" ")[0], Path(path))
    yield from (found[name] for name in _LIBRARIES if name in found)
