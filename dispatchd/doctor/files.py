"""The data folder: whether it can be written, how much room there is, and the keys in it."""

import shutil
import stat
import sys
import tempfile
from pathlib import Path

from dispatchd.core.errors import Unusable
from dispatchd.core.keyfile import KeyFile
from dispatchd.doctor import Finding, failure, ok, warning

_MIB = 1024**2
_GIB = 1024**3
_ROOM_MIN_BYTES = 256 * _MIB
_ROOM_GOOD_BYTES = 2 * _GIB
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ELSEWHERE = "Choose another folder with --data-dir"


def data_folder(folder: Path) -> Finding:
    """Whether a node could keep its state there."""
    here = _nearest(folder)
    if not here.is_dir():
        return failure(f"{here} is a file, so that {folder} can be no folder", _ELSEWHERE)
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        return failure(f"{here} cannot be written to: {error.strerror or error}", _ELSEWHERE)
    if here != folder:
        return ok(f"{folder} is not there yet; the first start makes it")
    if sys.platform != "win32" and folder.stat().st_mode & _OTHERS_WRITE:
        remedy = f"Run: chmod 700 '{folder}'"
        return warning(f"Others on this machine can write to {folder}", remedy)
    return ok(f"{folder} can be written to")


def room(folder: Path) -> Finding:
    """Whether the disk under a folder has room for a database and a model."""
    free = shutil.disk_usage(_nearest(folder)).free
    said = f"{free / _GIB:.1f} GiB are free for {folder}"
    make_room = "Make room there, or choose another folder with --data-dir"
    if free < _ROOM_MIN_BYTES:
        return failure(f"{said}, too little for the database", make_room)
    if free < _ROOM_GOOD_BYTES:
        return warning(f"{said}, too little for most models", make_room)
    return ok(said)


def key_file(path: Path) -> Finding:
    """Whether a key that is there can be used, and by its owner alone."""
    if not path.exists():
        return ok(f"{path} is not there yet; it is made when it is needed")
    file = KeyFile(path, "", "choose another --key")
    try:
        if file.shared:
            return failure(f"Others on this machine can read {path}", f"Run: chmod 600 '{path}'")
        key = file.load()
    except (OSError, Unusable):
        return failure(
            f"{path} holds no key that can be used",
            "Put a copy of it back, or remove it: a new key is made, which nobody trusts yet",
        )
    return ok(f"{path} holds the key {key.public_hex[:16]}…")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((each for each in (folder, *folder.absolute().parents) if each.exists()), folder)
