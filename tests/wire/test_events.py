"""Server-sent events, however their bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.wire.events import Event, EventParser, EventTooLong

LINES = st.sampled_from(
    [
        "",
        "data",
        "data:",
        "data: é🌍\u2028",
        "data:x",
        ": hush",
        "event: a",
        "id:1",
        "retry: 5",
        "x",
    ]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def parse(body: bytes, cuts: list[int], bytes_max: int = 1000) -> list[Event]:
    parser = EventParser(bytes_max)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    parts = [body[start:end] for start, end in itertools.pairwise(places)]
    return [event for part in parts for event in parser.feed(part)]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_events_are_cut_anywhere(size: int) -> None:
    lines = ("id:1", ": hush", "event: a", "data: é\u2028", "", "data:x\r", "data: y\r", "\r")
    body = "\n".join((*lines, "event: none", "", "data: z")).encode()
    events = parse(body, list(range(0, len(body), size)))
    assert events == [Event("a", "é\u2028"), Event("message", "x\ny")]


@given(st.lists(LINES, max_size=12), ENDS, st.lists(st.integers(0, 400), max_size=20))
def test_neither_cuts_nor_the_kind_of_line_end_matter(
    lines: list[str], end: str, cuts: list[int]
) -> None:
    plain = "".join(f"{line}\n" for line in lines).encode()
    ended = "".join(f"{line}{end}" for line in lines).encode()
    assert parse(ended, cuts) == parse(plain, [])


def test_a_mark_at_the_beginning_is_no_text() -> None:
    assert parse("\ufeffdata: x\n\n".encode(), [1, 2]) == [Event("message", "x")]


@pytest.mark.parametrize("body", [b"data: " + b"x" * 100, b"data: x\n" * 20])
@pytest.mark.parametrize("size", [1, 1000])
def test_an_event_that_never_ends_is_refused(body: bytes, size: int) -> None:
    with pytest.raises(EventTooLong):
        parse(body, list(range(0, len(body), size)), bytes_max=64)


def test_many_events_are_none_too_long() -> None:
    assert len(parse(b"data: x\n\n" * 100, [], bytes_max=64)) == 100
