"""Key files on disk: written once, readable by their owner alone."""

import os
import stat
import sys
from pathlib import Path

from msgspec import Struct

from dispatchd.core.errors import Invalid, Unusable
from dispatchd.core.keys import KeyPair

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyFile(Struct, frozen=True):
    """The file of one key. `whose` and `remedy` are for the sentences of what goes wrong."""

    path: Path
    whose: str
    remedy: str

    def load_or_create(self) -> KeyPair:
        """The key, which is made if there is none; raises `Unusable`."""
        try:
            if not self.path.exists():
                self._write(KeyPair.generate())
        except OSError as error:
            raise self.unusable(error) from None
        return self.load()

    def load(self) -> KeyPair:
        """The key; raises `Unusable` where others can read the file or it holds none."""
        try:
            self._refuse_if_shared()
            return KeyPair.parse(self.path.read_bytes())
        except OSError as error:
            raise self.unusable(error) from None
        except Invalid as error:
            raise Unusable(f"{self.path} is {error}. Remove it, or {self.remedy}.") from None

    def unusable(self, error: OSError) -> Unusable:
        """What to tell of an error of the file system."""
        reason = error.strerror or str(error)
        remedy = f"{self.remedy[0].upper()}{self.remedy[1:]}"
        return Unusable(f"Cannot use the {self.whose} key {self.path}: {reason}. {remedy}.")

    def _write(self, key: KeyPair) -> None:
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.print())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    @property
    def shared(self) -> bool:
        """Whether others on this machine can read it; raises `OSError`."""
        return sys.platform != "win32" and bool(self.path.stat().st_mode & _OTHERS)

    def _refuse_if_shared(self) -> None:
        if self.shared:
            raise Unusable(
                f"Others on this machine can read the {self.whose} key {self.path}."
                f" Run: chmod 600 '{self.path}'"
            )
