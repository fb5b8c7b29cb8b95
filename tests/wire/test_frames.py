"""Frames: the golden ones, and that nothing that arrives can raise anything but `BadFrame`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.core.members import members
from dispatchd.wire import messages
from dispatchd.wire.decode import BadFrame, from_coordinator, from_worker
from tests.support.vectors import name_of, vectors

ALL = vectors("worker_frames")


@pytest.mark.parametrize("vector", [v for v in ALL if "message" in v], ids=name_of)
def test_golden_frames_of_workers(vector: dict[str, Any]) -> None:
    message = from_worker(vector["text"])
    assert type(message).__name__ == vector["message"]
    if "output" in vector:
        assert isinstance(message, messages.JobComplete)
        assert bytes(message.output).decode() == vector["output"]  # type: ignore[arg-type]


@pytest.mark.parametrize("vector", [v for v in ALL if "refused" in v], ids=name_of)
def test_frames_that_must_be_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(BadFrame) as refusal:
        from_worker(vector["text"])
    assert refusal.value.code == vector["refused"]


@pytest.mark.parametrize("vector", vectors("coordinator_frames"), ids=name_of)
def test_golden_frames_of_coordinators(vector: dict[str, Any]) -> None:
    fields = vector["fields"]
    if "payload" in fields:
        fields["payload"] = messages.raw(fields["payload"])
    message = getattr(messages, vector["message"])(**fields)
    assert messages.encode(message).decode() == vector["text"]
    assert type(from_coordinator(vector["text"])) is type(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
TYPES = [
    "register",
    "heartbeat",
    "job_complete",
    "job_reject",
    "receipt_submit",
    "job_progress",
    "prove",
]
FIELDS = [
    "provider_pubkey",
    "capabilities",
    "job_id",
    "output",
    "receipt",
    "delta",
    "attempt",
    "signature",
]
FRAMES = st.builds(
    lambda kind, rest: json.dumps(rest | {"type": kind}),
    st.sampled_from(TYPES) | JSON,
    st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON),
)


@given(st.text() | FRAMES)
def test_any_text_is_a_message_or_a_bad_frame(text: str) -> None:
    try:
        from_worker(text)
    except BadFrame as error:
        assert error.code in {"PARSE_ERROR", "UNKNOWN_MSG", "INVALID_MSG"}  # noqa: PT017
    from_coordinator(text)


@given(st.dictionaries(st.text(), JSON))
def test_members_are_the_texts_of_an_object(value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1, allow_nan=True)
    if "NaN" in text or "Infinity" in text:
        return
    assert {name: json.loads(part) for name, part in members(text).items()} == value


@given(st.text())
def test_members_of_anything_else_are_refused(text: str) -> None:
    try:
        found = members(text)
    except (ValueError, RecursionError):
        return
    assert set(found) == set(json.loads(text))
