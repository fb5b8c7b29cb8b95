import json
import time

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatchd.worker.tasks.extract_json import extract_json
from dispatchd.worker.tasks.json_scan import DEPTH_MAX, INTEGER_DIGITS_MAX, find_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
FREE_TEXT = st.text(st.characters(exclude_characters="{}[]", exclude_categories=["Cs"]))
PARTS = [*'[]{}",:\\ \n1-.e', '"a"', '{"a":', '["', '"]', "{}", "true", "NaN", r"\"", r"\u00", "01"]


def extracted(text: str) -> list[object]:
    result = extract_json(text)
    found = result["extracted"]
    assert isinstance(found, list)
    assert result["count"] == len(found)
    return found


def refuse(constant: str) -> None:
    raise ValueError(constant)


def plainly(text: str) -> list[object]:
    """What the standard library finds when asked at each bracket in turn."""
    decoder = json.JSONDecoder(parse_constant=refuse)
    found, position = [], 0
    while position < len(text):
        if text[position] in "[{":
            try:
                value, position = decoder.raw_decode(text, position)
            except ValueError:
                pass
            else:
                found.append(value)
                continue
        position += 1
    return found


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join))
@example('{"x": "[1]", oops [2]}')
@example('{ he said "hi } {"a":1}')
@example('["[", "{\\"a\\": [1]}"')
@example("[[1],[2,[3]")
def test_it_finds_what_asking_at_each_bracket_finds(text: str) -> None:
    assert extracted(text) == plainly(text)


@given(FREE_TEXT, st.lists(VALUES, min_size=1, max_size=3), FREE_TEXT)
def test_values_in_free_text_come_back_as_they_are(
    before: str, values: list[object], after: str
) -> None:
    text = before + json.dumps(values) + after + json.dumps({"v": values}, indent=1)
    assert extracted(text) == [values, {"v": values}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing here", []),
        ('Result: {"a": {"b": [1, {"c": null}]}}, done.', [{"a": {"b": [1, {"c": None}]}}]),
        ('{"a": "} ] {"} [1, 2]', [{"a": "} ] {"}, [1, 2]]),
        ('{bad {"good": 1} "x": [2]}', [{"good": 1}, [2]]),
        ('```json\n{"a": 1}\n```', [{"a": 1}]),
        ('{"a": 1,} [1,] {"a"} {1: 2} [01]', []),
        ("[NaN] [Infinity] [-Infinity] {'a': 1} [1e999] [-1e999]", []),
        ('{"a": 1, "a": 2}', [{"a": 2}]),
        ("[123456789012345678901234567890]", [[123456789012345678901234567890]]),
        ("[-0, 1.5e3, 1E-2]", [[0, 1500.0, 0.01]]),
        ('"just a string" 12 true', []),
        ("[] {}", [[], {}]),
        ('["a\tb"] ["a\\tb"]', [["a\tb"]]),
        (r'["\ud800", "\udc00x", "\ud83d\ude00", "\\ud800"]', [["�", "�x", "😀", r"\ud800"]]),
        (r'["\ud800\ud83d\ude00"] {"\ud800": 1}', [["�😀"], {"�": 1}]),
        ('["\ud800"]', [["�"]]),
        ("[1\u00a0] [1\ufeff]", []),
    ],
)
def test_examples(text: str, expected: list[object]) -> None:
    assert extracted(text) == expected


@given(st.text())
def test_every_result_can_be_sent(text: str) -> None:
    msgspec.json.encode(extract_json(text + r'{"\ud912": "\udd12"}' + text))


def test_what_is_nested_too_deep_is_no_json_but_its_inside_is() -> None:
    deepest = "[" * DEPTH_MAX + "]" * DEPTH_MAX
    assert list(find_json(deepest)) == [(0, len(deepest))]
    deeper = f'{{"a": {deepest}}}'
    assert list(find_json(deeper)) == [(6, 6 + len(deepest))]


def test_an_integer_may_have_as_many_digits_as_python_takes() -> None:
    assert extracted(f"[{'1' * INTEGER_DIGITS_MAX}]") == [[int("1" * INTEGER_DIGITS_MAX)]]
    assert extracted(f"[{'1' * (INTEGER_DIGITS_MAX + 1)}] [2]") == [[2]]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("{" * 100_000, 0),
        ("[" * 300_000, 0),
        ('[{"a":' * 50_000, 0),
        ("[" * 100_000 + "]" * 100_000, 1),
        ('["[",' * 60_000, 0),
        ('{"{":' * 60_000, 0),
        ('"[' * 150_000, 0),
        ('["' * 150_000, 0),
        ('["\\"' * 75_000, 0),
        ('["' + 'a[\\"' * 75_000, 0),
        ("[1" * 150_000, 0),
        ("[" + "1" * 300_000, 0),
        (("[" + " " * 1000) * 300, 0),
        ('[{"a":1},' * 30_000, 30_000),
        ("[" + '{"a":1,"b":["x"]},' * 15_000 + "1]", 1),
    ],
)
def test_hostile_text_takes_linear_time(text: str, count: int) -> None:
    begun = time.perf_counter()
    assert extract_json(text)["count"] == count
    assert time.perf_counter() - begun < 3
