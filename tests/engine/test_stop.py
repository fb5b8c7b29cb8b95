from hypothesis import example, given
from hypothesis import strategies as st

from dispatchd.engine.stop import StopStrings

# A few letters, so that stop strings overlap; some of more than one byte or code point.
LETTERS = st.sampled_from(["a", "b", "c", "é", "中", "👩‍👧"])
TEXTS = st.lists(LETTERS, max_size=30).map("".join)
STOPS = st.lists(st.lists(LETTERS, min_size=1, max_size=5).map("".join), max_size=16)


def naive_cut(text: str, sought: list[str]) -> str:
    return text[: min((text.find(string) for string in sought if string in text), default=None)]


def split(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def stream(pieces: list[str], sought: list[str]) -> tuple[list[str], StopStrings]:
    stop = StopStrings(sought)
    given_out = []
    for piece in pieces:
        given_out.append(stop.add(piece))
        if stop.found:
            return given_out, stop
    return [*given_out, stop.end()], stop


@given(TEXTS, st.lists(st.integers(0, 100)), STOPS)
@example("abab" + "abac", [1, 2, 3, 4, 5, 6, 7], ["abac"])
@example("xabcy", [1, 2, 3, 4], ["abcd", "b"])
@example("aab", [1, 2], ["aaa", "ab"])
def test_any_split_gives_the_text_cut_once(text: str, places: list[int], sought: list[str]) -> None:
    cut = naive_cut(text, sought)
    pieces, stop = stream(split(text, places), sought)
    assert "".join(pieces) == cut
    assert stop.found == (cut != text or any(string in text for string in sought))


@given(TEXTS, st.lists(st.integers(0, 100)), STOPS)
def test_nothing_is_held_back_that_is_settled(
    text: str, places: list[int], sought: list[str]
) -> None:
    stop = StopStrings(sought)
    shown = seen = ""
    for piece in split(text, places):
        seen += piece
        shown += stop.add(piece)
        if stop.found:
            return
        held = seen.removeprefix(shown)
        assert not held or any(s.startswith(held) and s != held for s in sought)


def test_text_without_stop_strings_passes_at_once() -> None:
    assert stream(["a", "", "bc"], [])[0] == ["a", "", "bc", ""]


def test_a_beginning_is_held_back_until_it_is_none() -> None:
    assert stream(["Hi\n", "Us", "age", "\nUser:"], ["\nUser:"])[0] == ["Hi", "", "\nUsage", ""]
    assert stream(["Hi\n", "Us", "er", ": no"], ["\nUser:"])[0] == ["Hi", "", "", ""]
