"""The worker's key on disk: made on the first run, readable by its owner alone."""

import os
import stat
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from dispatchd.core.errors import Invalid, Unusable
from dispatchd.core.keys import WorkerKey

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_or_create(path: Path) -> tuple[WorkerKey, FileLock]:
    """The key in that file, which is made if it is not there, and the lock on it.

    Two workers with one key would push one another out, so the file is locked for as long as the
    process lives. Raises `Unusable`.
    """
    lock = FileLock(f"{path}.lock", mode=0o600)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire(timeout=0)
    except Timeout:
        raise Unusable(f"Another dispatchd uses the key {path}. Choose another --key.") from None
    except OSError as error:
        raise Unusable(_cannot_use(path, error)) from None
    return _load(path), lock


def _load(path: Path) -> WorkerKey:
    try:
        if not path.exists():
            _write(path, WorkerKey.generate())
        _refuse_if_shared(path)
        return WorkerKey.parse(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unusable(
            f"Cannot use the worker key {path}: {reason}. Choose another --key."
        ) from None
    except Invalid as error:
        raise Unusable(f"{path} is {error}. Remove it, or choose another --key.") from None


def _cannot_use(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"Cannot use the worker key {path}: {reason}. Choose another --key."


def _write(path: Path, key: WorkerKey) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.print())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _refuse_if_shared(path: Path) -> None:
    if sys.platform != "win32" and path.stat().st_mode & _OTHERS:
        raise Unusable(
            f"Others on this machine can read the worker key {path}. Run: chmod 600 '{path}'"
        )
