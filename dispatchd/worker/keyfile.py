"""The worker's key on disk, which one process at a time may use."""

from pathlib import Path

from filelock import FileLock, Timeout

from dispatchd.core.errors import Unusable
from dispatchd.core.keyfile import KeyFile
from dispatchd.core.keys import KeyPair


def load_or_create(path: Path) -> tuple[KeyPair, FileLock]:
    """The key in that file, which is made if it is not there, and the lock on it.

    Two workers with one key would push one another out, so the file is locked for as long as the
    process lives. Raises `Unusable`.
    """
    file = KeyFile(path, "worker", "choose another --key")
    lock = FileLock(f"{path}.lock", mode=0o600)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire(timeout=0)
    except Timeout:
        raise Unusable(f"Another dispatchd uses the key {path}. Choose another --key.") from None
    except OSError as error:
        raise file.unusable(error) from None
    return file.load_or_create(), lock
