"""Archives whose bytes depend on the files in them alone."""

import gzip
import hashlib
import tarfile
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

_EXECUTABLE, _PLAIN = 0o755, 0o644
_UNIX_MODE = 16
_LEVEL = 6  # 9 takes far longer and saves next to nothing


def pack(folder: Path, file: Path, epoch_seconds: int) -> None:
    """Writes the folder, under its own name, as `.tar.gz` or `.zip`; all times are the epoch."""
    if file.suffix == ".zip":
        _zip(folder, file, epoch_seconds)
    else:
        _tar(folder, file, epoch_seconds)


def sums(files: Iterable[Path]) -> str:
    """What `sha256sum --check` reads."""
    lines = []
    for file in sorted(files):
        with file.open("rb") as opened:
            lines.append(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {file.name}\n")
    return "".join(lines)


def _tar(folder: Path, file: Path, epoch_seconds: int) -> None:
    def same_for_all(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = epoch_seconds
        member.mode = _EXECUTABLE if member.isdir() or member.mode & 0o100 else _PLAIN
        return member

    with (
        file.open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, epoch_seconds) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as members,
    ):
        for path in (folder, *sorted(folder.rglob("*"))):
            name = path.relative_to(folder.parent)
            members.add(path, str(name), recursive=False, filter=same_for_all)


def _zip(folder: Path, file: Path, epoch_seconds: int) -> None:
    time = datetime.fromtimestamp(epoch_seconds, UTC).timetuple()[:6]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as members:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            member = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix(), time)
            member.external_attr = _EXECUTABLE << _UNIX_MODE
            member.compress_type = zipfile.ZIP_DEFLATED
            members.writestr(member, path.read_bytes())
