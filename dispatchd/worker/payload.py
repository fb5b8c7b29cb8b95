"""Reads payloads, which coordinators that other people wrote may not have checked."""

from typing import TypeVar

import msgspec

from dispatchd.core.errors import ExecutionFailed
from dispatchd.core.sentence import plain_sentence

_T = TypeVar("_T")


def read_payload(payload: str, shape: type[_T]) -> _T:
    """The payload in that shape; raises `ExecutionFailed`, final, `invalid_payload: …`."""
    try:
        return msgspec.json.decode(payload, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ExecutionFailed(f"invalid_payload: {plain_sentence(error)}", final=True) from None
