"""The same code always becomes the same bytes, whatever else the process has in memory."""

import marshal
import sys
from types import CodeType
from typing import Any

_dump, _dumps = marshal.dump, marshal.dumps
_Known = dict[tuple[type, str], Any]


def marshal_alike() -> None:
    """From now on this process writes code alike.

    marshal writes an object once and then refers to it, and marks each that somebody else holds as
    well, since it may come again. So its bytes tell what else is in memory. Here what is equal is
    made the same object first, and everything is held.
    """
    module: Any = marshal
    module.dump, module.dumps = _alike_dump, _alike_dumps


def _alike_dump(value: Any, file: Any, version: int = marshal.version, /) -> None:
    file.write(_alike_dumps(value, version))


def _alike_dumps(value: Any, version: int = marshal.version, /) -> bytes:
    alike = _alike(value, {})
    held = _parts(alike)
    written = _dumps(alike, version)
    del held
    return written


def _alike(value: Any, known: _Known) -> Any:
    """An equal value in which equal parts are the same object."""
    if isinstance(value, CodeType):
        names = ("consts", "names", "filename", "name", "qualname", "linetable", "exceptiontable")
        parts: dict[str, Any] = {
            f"co_{name}": _alike(getattr(value, f"co_{name}"), known) for name in names
        }
        return value.replace(**parts)
    if isinstance(value, tuple | list | set | frozenset):
        return type(value)(_alike(each, known) for each in value)
    if isinstance(value, dict):
        return {_alike(key, known): _alike(each, known) for key, each in value.items()}
    if isinstance(value, str) and len(value) <= 1:  # Python has one of each, interned or not
        return sys.intern(value)
    return known.setdefault((type(value), repr(value)), value)


def _parts(value: Any) -> list[Any]:
    """Everything that marshal writes of a value."""
    parts, left = list[Any](), [value]
    while left:
        one = left.pop()
        parts.append(one)
        if isinstance(one, CodeType):
            left += [one.co_consts, one.co_names, one.co_filename, one.co_name, one.co_qualname]
            left += [one.co_linetable, one.co_exceptiontable, one.co_code]
            left += [*one.co_varnames, *one.co_cellvars, *one.co_freevars]
        elif isinstance(one, tuple | list | set | frozenset):
            left += one
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
    return parts
