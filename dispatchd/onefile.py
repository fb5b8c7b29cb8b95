"""The single file's life: it ends with the process that unpacked it, and clears up after dead ones.

PyInstaller's single file is two processes. The first unpacks all into a folder of its own, named
after itself, runs the second from there and removes the folder at the end. A `kill -9` of the
first would leave both behind.
"""

import contextlib
import ctypes
import os
import re
import select
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

_FOLDER = re.compile(r"_MEI(?P<parent>[0-9a-f]{8})\w{6}")
_LOCK = "dispatchd.lock"


def settle() -> None:
    """To be called first in a process that was unpacked; nothing to do in any other."""
    folder = Path(getattr(sys, "_MEIPASS", ""))
    if not (named := _FOLDER.fullmatch(folder.name)):
        return
    end_with(int(named["parent"], 16))
    occupy(folder)
    clear_stale(folder.parent)


if sys.platform == "win32":

    def end_with(parent: int) -> None:
        """From now on this process ends when its parent does, whatever ends that."""
        synchronize, inherited, infinite = 0x00100000, 0, 0xFFFFFFFF
        handle = ctypes.windll.kernel32.OpenProcess(synchronize, inherited, parent)
        _after(lambda: ctypes.windll.kernel32.WaitForSingleObject(handle, infinite))

    def occupy(folder: Path) -> None:
        """Nothing: Windows itself keeps a folder whose libraries are loaded."""

    def clear_stale(temporary: Path) -> None:
        """Nothing: the folders of programs that were ended from outside stay on Windows."""

else:
    import fcntl

    def end_with(parent: int) -> None:
        """From now on this process ends when its parent does, whatever ends that."""
        if sys.platform == "linux":
            set_parent_death_signal = 1
            ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        elif sys.platform == "darwin":
            ended = select.kevent(
                parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT
            )
            queue = select.kqueue()
            _after(lambda: queue.control([ended], 1))
        if os.getppid() != parent:  # it ended before
            os.kill(os.getpid(), signal.SIGKILL)

    def occupy(folder: Path) -> None:
        """Marks the folder as in use for as long as this process lives."""
        # Locked before it has its name: nobody can find it unlocked while this process lives.
        unnamed = folder / f"{_LOCK}.new"
        lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)  # never closed
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(folder / _LOCK)

    def clear_stale(temporary: Path) -> None:
        """Removes what dead processes of this user's have left of `dispatchd` there."""
        for folder in temporary.glob("_MEI*"):
            named = _FOLDER.fullmatch(folder.name)
            if named and not _unpacks_still(int(named["parent"], 16)):
                with contextlib.suppress(OSError):  # somebody else's, in use, or gone by now
                    _remove_if_stale(folder)

    def _remove_if_stale(folder: Path) -> None:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)

    def _unpacks_still(process: int) -> bool:
        # This one's parent is done. In a container it often has a dead one's number, such as 1.
        return process != os.getppid() and _alive(process)

    def _alive(process: int) -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _after(wait: Callable[[], object]) -> None:
    def watch() -> None:
        with contextlib.suppress(OSError):  # what cannot be waited for has ended
            wait()
        os.kill(os.getpid(), signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
