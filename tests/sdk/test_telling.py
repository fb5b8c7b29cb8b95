"""A text that begins anew is told so that its reader ends up with the right one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.sdk.telling import Telling


def heard(*attempts: list[str], output: str | None = None) -> tuple[list[str], int]:
    """The pieces told for these attempts, and the restarts."""
    telling = Telling()
    pieces = []
    for deltas in attempts:
        telling.again()
        pieces += [telling.add(delta) for delta in deltas]
    if output is not None:
        pieces.append(telling.finish({"text": output}))
    return [piece for piece in pieces if piece], telling.restarts


@pytest.mark.parametrize(
    ("attempts", "pieces", "restarts"),
    [
        ([["a", "b"]], ["a", "b"], 0),
        ([["a", "b"], ["a", "b", "c"]], ["a", "b", "c"], 0),
        ([["a", "b"], ["abc", "d"]], ["a", "b", "c", "d"], 0),
        ([["ab"], ["ax", "y"]], ["ab", "ax", "y"], 1),
        ([["ab"], ["a"], ["abc"]], ["ab", "c"], 0),
    ],
)
def test_only_what_is_new_is_told(
    attempts: list[list[str]], pieces: list[str], restarts: int
) -> None:
    assert heard(*attempts) == (pieces, restarts)


def test_the_output_completes_the_text() -> None:
    assert heard(["Hel"], output="Hello") == (["Hel", "lo"], 0)
    assert heard(["Hello"], output="Hello") == (["Hello"], 0)
    assert heard(["Hello"], output="Hi") == (["Hello", "Hi"], 1)
    assert heard(["Hello"], output="Hell") == (["Hello", "Hell"], 1)
    assert heard(output="Hello") == (["Hello"], 0)


@given(st.lists(st.lists(st.text("ab", max_size=3), max_size=4), max_size=4), st.text("ab"))
def test_the_last_pieces_are_the_text(attempts: list[list[str]], output: str) -> None:
    telling = Telling()
    told, restarts = "", 0

    def hear(piece: str) -> None:
        nonlocal told, restarts
        told = piece if telling.restarts > restarts else told + piece
        restarts = telling.restarts

    for deltas in attempts:
        telling.again()
        for delta in deltas:
            hear(telling.add(delta))
    hear(telling.finish({"text": output}))
    assert told == output
