"""Text that arrived on a worker socket becomes a message, or an error with the protocol's code."""

import json
from typing import Any

import msgspec
from msgspec import Raw

from dispatchd.core.members import TooManyMembers, members
from dispatchd.core.sentence import plain_sentence
from dispatchd.wire.messages import (
    CoordinatorMessage,
    Heartbeat,
    JobComplete,
    JobProgress,
    JobReject,
    Prove,
    ReceiptSubmit,
    Register,
    WorkerMessage,
)

_FROM_WORKER: msgspec.json.Decoder[WorkerMessage] = msgspec.json.Decoder(WorkerMessage)
_FROM_COORDINATOR: msgspec.json.Decoder[CoordinatorMessage] = msgspec.json.Decoder(
    CoordinatorMessage
)
_BY_TYPE: dict[str, type[Any]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (Register, Heartbeat, JobComplete, JobReject, ReceiptSubmit, JobProgress, Prove)
}


class _Typed(msgspec.Struct):
    """As little of a frame as tells its type."""

    type: object = None


class BadFrame(Exception):
    """A frame that is no message; `code` is the protocol's."""

    def __init__(self, code: str, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind


def from_worker(text: str) -> WorkerMessage:
    """Parses a worker's frame; raises `BadFrame`, and nothing else, for anything wrong."""
    try:
        return _FROM_WORKER.decode(text)
    except msgspec.ValidationError as error:
        raise _unfit(text, error) from None
    except msgspec.DecodeError:
        return _from_members(text)
    except RecursionError:
        raise BadFrame("PARSE_ERROR", "The frame is nested too deeply.") from None
    except UnicodeEncodeError:
        raise BadFrame("PARSE_ERROR", "The frame is not valid UTF-8.") from None


def from_coordinator(text: str) -> CoordinatorMessage | None:
    """Parses a coordinator's frame; None for what this worker does not know or cannot read."""
    try:
        return _FROM_COORDINATOR.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def _unfit(text: str, error: msgspec.ValidationError) -> BadFrame:
    """Valid JSON that is not one of our messages: an unknown type, or a known one with flaws."""
    try:
        msgspec.json.decode(text, type=Raw)
    except (msgspec.DecodeError, RecursionError):
        return BadFrame("PARSE_ERROR", "The frame is not JSON.")
    try:
        kind = msgspec.json.decode(text, type=_Typed).type
    except msgspec.ValidationError:
        kind = None
    if not isinstance(kind, str) or kind not in _BY_TYPE:
        return BadFrame("UNKNOWN_MSG", "The frame needs a `type` that this coordinator knows.")
    return BadFrame("INVALID_MSG", f"{kind}: {plain_sentence(error)}", kind)


def _from_members(text: str) -> WorkerMessage:
    """The slow way, for JSON that holds escaped lone surrogates: raw members are set aside."""
    try:
        parts = members(text)
        kind = _BY_TYPE.get(json.loads(parts.get("type", "null")))
    except TooManyMembers as error:
        raise BadFrame("INVALID_MSG", f"The frame has {error}.") from None
    except (ValueError, TypeError, RecursionError):
        raise BadFrame("PARSE_ERROR", "The frame is not JSON.") from None
    aside = {name: parts[name] for name in _raw_fields(kind) if name in parts}
    rest = parts | dict.fromkeys(aside, "null")
    shell = ",".join(f"{json.dumps(name)}:{value}" for name, value in rest.items())
    try:
        message = _FROM_WORKER.decode(f"{{{shell}}}")
    except msgspec.ValidationError as error:
        raise _unfit(f"{{{shell}}}", error) from None
    except msgspec.DecodeError:
        raise BadFrame("INVALID_MSG", "A field holds half of a surrogate pair.") from None
    return msgspec.structs.replace(message, **{k: Raw(v.encode()) for k, v in aside.items()})


def _raw_fields(kind: type[Any] | None) -> list[str]:
    fields = msgspec.structs.fields(kind) if kind else ()
    return [f.name for f in fields if f.type is Raw or Raw in getattr(f.type, "__args__", ())]
