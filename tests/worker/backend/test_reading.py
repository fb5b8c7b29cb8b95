"""A stream is read the same however it arrives, and whatever its server leaves out."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.worker.backend.failure import BackendFailed, Trouble
from dispatchd.worker.backend.reading import EVENT_BYTES_MAX, Reading, Told
from tests.support.backend import DIALECTS, DONE, TEXT, TEXTS, chunk, event, figures

WHOLE = Told(TEXT, "stop", 11, 7)
SAID = [chunk({"content": text}) for text in TEXTS]


def read(*parts: bytes) -> tuple[str, Told]:
    reading = Reading()
    text = "".join(reading.feed(part) for part in parts)
    return text, reading.told()


def failed(*parts: bytes) -> BackendFailed:
    with pytest.raises(BackendFailed) as caught:
        read(*parts)
    return caught.value


@given(
    st.sampled_from(list(DIALECTS)),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(0, 5000), max_size=30),
)
def test_every_servers_stream_is_read_however_it_is_cut(
    server: str, end: str, cuts: list[int]
) -> None:
    body = b"".join(DIALECTS[server]()).replace(b"\n", end.encode())
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    parts = [body[start:stop] for start, stop in itertools.pairwise(places)]
    assert read(*parts) == (TEXT, WHOLE)


def test_an_empty_reason_to_finish_is_none() -> None:
    said = [chunk({"content": text}, "") for text in TEXTS]
    assert read(*said, chunk({}, "stop"), DONE)[0] == TEXT
    assert failed(*said).said == "it broke off"


def test_letters_come_as_soon_as_their_event_is_whole() -> None:
    reading = Reading()
    said = "".join(chunk({"content": "é"}).decode()).encode()
    assert [reading.feed(said[i : i + 1]) for i in range(len(said))][-1] == "é"
    assert (reading.begun, reading.complete, reading.done) == (True, False, False)


def test_escaped_letters_are_letters() -> None:
    said = json.dumps({"choices": [{"index": 0, "delta": {"content": "wörld 🌍"}}]})
    assert "\\ud83c" in said
    assert read(f"data: {said}\n\n".encode(), DONE)[0] == "wörld 🌍"


def test_without_figures_each_piece_counts_as_a_token() -> None:
    assert read(*SAID, chunk({}, "stop"), DONE)[1] == Told(TEXT, "stop", None, 3)
    assert read(*SAID, chunk({}, "stop", usage=None))[1] == Told(TEXT, "stop", None, 3)


def test_figures_may_come_with_every_piece() -> None:
    pieces = [
        chunk({"content": text}, usage={"prompt_tokens": 11, "completion_tokens": made})
        for made, text in enumerate(TEXTS, 1)
    ]
    assert read(*pieces, chunk({}, "length"), DONE)[1] == Told(TEXT, "length", 11, 3)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("eos", "stop"),
        ("content_filter", "stop"),
    ],
)
def test_why_a_text_ends(said: str, means: str) -> None:
    assert read(*SAID, chunk({}, said), DONE)[1].finish_reason == means


def test_either_mark_of_an_end_is_enough() -> None:
    assert read(*SAID, DONE)[1].text == TEXT
    assert read(*SAID, chunk({}, "stop"))[1].text == TEXT
    assert read(DONE)[1] == Told("", "stop", None, 0)


def test_what_comes_after_the_end_is_not_heard() -> None:
    assert read(*SAID, DONE, chunk({"content": "more"}), figures())[1] == Told(
        TEXT, "stop", None, 3
    )


def test_what_is_said_after_the_last_word_is_no_text() -> None:
    assert read(*SAID, chunk({}, "stop"), chunk({"content": "more"}), DONE)[0] == TEXT


def test_other_choices_are_not_ours() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
    assert read(event(other), *SAID, chunk({}, "stop"))[1] == Told(TEXT, "stop", None, 3)


@pytest.mark.parametrize("ending", [(), (b": ping\n\n",), (b"data: {",)])
def test_a_stream_that_ends_before_its_text_has_broken(ending: tuple[bytes, ...]) -> None:
    failure = failed(*SAID, *ending)
    assert (failure.trouble, failure.final) == (Trouble.BROKEN, False)


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_text_that_was_given_up_is_none(reason: str) -> None:
    assert failed(*SAID, chunk({}, reason), DONE).trouble is Trouble.BROKEN


@pytest.mark.parametrize(
    "data", [b"data: {\n\n", b"data: []\n\n", b'data: {"choices": 5}\n\n', b"data: \xff\n\n"]
)
def test_what_cannot_be_read_has_broken(data: bytes) -> None:
    assert failed(data).trouble is Trouble.BROKEN


def test_an_event_without_end_has_broken() -> None:
    assert failed(b"data: " + b"x" * (EVENT_BYTES_MAX + 1)).trouble is Trouble.BROKEN


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        ({"code": 500, "message": "boom", "type": "server_error"}, Trouble.BROKEN),
        ({"code": "internal", "message": "boom"}, Trouble.BROKEN),
        ("boom", Trouble.BROKEN),
        ({"code": 400, "message": "no", "type": "BadRequestError"}, Trouble.REJECTED),
        ({"code": 400, "type": "exceed_context_size_error", "n_ctx": 8}, Trouble.TOO_LONG),
        ({"code": 404, "message": "no such model"}, Trouble.MISSING),
    ],
)
def test_an_error_instead_of_a_text(error: object, trouble: Trouble) -> None:
    assert failed(event({"error": error}), DONE).trouble is trouble


def test_an_error_amid_a_text_is_not_the_jobs() -> None:
    error = {"code": 400, "type": "exceed_context_size_error", "message": "secret"}
    failure = failed(*SAID, event({"error": error}), DONE)
    assert (failure.trouble, failure.final) == (Trouble.BROKEN, False)
    assert "secret" not in failure.reason
