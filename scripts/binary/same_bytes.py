"""The same code always becomes the same bytes, whatever else the process has in memory."""

import marshal
from typing import Any

_PLAIN = 2
"""The last version of marshal's format that knows no references between objects."""

_dump, _dumps = marshal.dump, marshal.dumps


def marshal_alike() -> None:
    """From now on this process writes code without references.

    Later versions of the format mark an object that somebody else holds as well, which another
    import or a garbage collection changes. They are needed for the slices of Python 3.14, so the
    binary is built with 3.13 at the most.
    """
    module: Any = marshal
    module.dump, module.dumps = _plain_dump, _plain_dumps


def _plain_dump(value: Any, file: Any, version: int = _PLAIN, /) -> None:  # noqa: ARG001
    _dump(value, file, _PLAIN)


def _plain_dumps(value: Any, version: int = _PLAIN, /) -> bytes:  # noqa: ARG001
    return _dumps(value, _PLAIN)
