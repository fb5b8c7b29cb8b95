import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatchd.core.ecma import ecma_json
from dispatchd.worker.tasks import json_scan
from dispatchd.worker.tasks.extract_json import extract_json
from dispatchd.worker.tasks.json_scan import DEPTH_MAX, READINGS_MAX, find_json
from dispatchd.worker.tasks.json_tokens import JUNK, Token, read_token

STRINGS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | STRINGS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
FREE_TEXT = st.text(st.characters(exclude_characters="{}[]`", exclude_categories=["Cs"]))
PARTS = [*"[](){}\",:'\\ \n1-.e/*#“”", '"a"', '{"a":', '["', '"]', "{}", "true", "None", "NaN", "a"]
PARTS += [r"\"", r"\u00", r"\u00e9", "01", "//", "/*", "*/", "```", "u'"]
PIECES = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


def extracted(text: str) -> list[object]:
    result = extract_json(text)
    found = result["extracted"]
    assert isinstance(found, list)
    assert result["count"] == len(found)
    return found


def refuse(constant: str) -> None:
    raise ValueError(constant)


def sound(text: str, place: int) -> bool:
    try:
        STRICT.raw_decode(text, place)
    except ValueError:
        return False
    return True


STRICT = json.JSONDecoder(parse_constant=refuse)


@settings(max_examples=500)
@given(PIECES)
@example('{"x": "[1]", oops [2]}')
@example('{ he said "hi } {"a":1}')
@example('["[", "{\\"a\\": [1]}"')
@example("[[1],[2,[3]")
def test_sound_json_is_found_wherever_it_stands(text: str) -> None:
    found = list(find_json(text))
    inside = {place for each in found for place in range(each.start, each.end)}
    for place, mark in enumerate(text):
        if mark in "[{" and place not in inside:
            assert not sound(text, place)
    for each in found:
        value = json.loads(each.json)
        if sound(text, each.start):
            assert (value, each.end) == STRICT.raw_decode(text, each.start)


@given(FREE_TEXT, st.lists(VALUES, min_size=1, max_size=3), FREE_TEXT)
def test_values_in_free_text_come_back_as_they_are(
    before: str, values: list[object], after: str
) -> None:
    text = before + json.dumps(values) + after + json.dumps({"v": values}, indent=1)
    assert extracted(text) == [values, {"v": values}]


@given(st.lists(VALUES, max_size=4) | st.dictionaries(st.text(max_size=3), VALUES))
def test_what_python_prints_is_read(value: object) -> None:
    assert extracted(f"It printed {value!r} then.") == [value]


def sloppily(value: object, chance: Iterator[int]) -> str:
    """JSON as people write it: comments, trailing commas, bare keys, constants of any language."""
    space = ["", " ", "\n", " // so\n", "/* { */", " # [1]\n"][next(chance) % 6]
    comma = ["", ","][next(chance) % 2]
    match value:
        case dict():
            members = [
                f"{key if key.isidentifier() else repr(key)}:{sloppily(each, chance)}"
                for key, each in value.items()
            ]
            return f"{{{space}{', '.join(members)}{comma if members else ''}}}"
        case list():
            return f"[{','.join(sloppily(each, chance) for each in value)}{comma if value else ''}]"
        case str():
            return [json.dumps(value), repr(value)][next(chance) % 2] + space
        case _:
            return [json.dumps(value), repr(value)][next(chance) % 2] + space


@given(st.lists(VALUES, max_size=4), st.randoms(use_true_random=False))
def test_what_people_write_is_read(values: list[object], chance: Any) -> None:
    text = sloppily(values, iter(lambda: chance.randrange(60), None))
    assert extracted(f"so {text}; done") == [values]


@given(st.lists(SCALARS, min_size=1, max_size=4), st.integers(0, 5))
def test_a_missing_end_is_added(values: list[object], depth: int) -> None:
    text = '{"a": [' * depth + json.dumps(values)
    expected: object = values
    for _ in range(depth):
        expected = {"a": [expected]}
    assert extracted(text) == extracted(f"```\n{text}\n```\n") == [expected]
    assert extracted(text.rstrip("]")) == [expected]


@given(st.lists(VALUES, min_size=1, max_size=4), st.data())
def test_whatever_was_cut_off_is_no_value_that_was_not_there(
    values: list[object], data: st.DataObject
) -> None:
    text = json.dumps([f"x{n}" for n in range(len(values))])
    cut = data.draw(st.integers(0, len(text)))
    for found in extracted(text[:cut]):
        assert isinstance(found, list)
        assert all(f"x{n}".startswith(str(each)) for n, each in enumerate(found))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing here", []),
        ('Result: {"a": {"b": [1, {"c": null}]}}, done.', [{"a": {"b": [1, {"c": None}]}}]),
        ('{"a": "} ] {"} [1, 2]', [{"a": "} ] {"}, [1, 2]]),
        ('{bad {"good": 1} "x": [2]}', [{"good": 1}, [2]]),
        ('```json\n{"a": 1}\n```', [{"a": 1}]),
        ('{"a": 1, "a": 2}', [{"a": 2}]),
        ("[123456789012345678901234567890]", [[123456789012345678901234567890]]),
        ("[-0, 1.5e3, 1E-2]", [[0, 1500.0, 0.01]]),
        ('"just a string" 12 true', []),
        ("[] {}", [[], {}]),
        (r'["\ud800", "\udc00x", "\ud83d\ude00", "\\ud800"]', [["�", "�x", "😀", r"\ud800"]]),
        (r'["\ud800\ud83d\ude00"] {"\ud800": 1}', [["�😀"], {"�": 1}]),
        ('["\ud800"]', [["�"]]),
    ],
)
def test_sound_json(text: str, expected: list[object]) -> None:
    assert extracted(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,} [1,]', [{"a": 1}, [1]]),
        ("{'a': 'it's', \"b\": 'x'}", [{"a": "it's", "b": "x"}]),
        ("{a: 1, $b: 2, c-d: 3, 4: 5}", [{"a": 1, "$b": 2, "c-d": 3, "4": 5}]),
        ("{'a': True, 'b': None, c: undefined}", [{"a": True, "b": None, "c": None}]),
        ("{'a': (1, (2,), ())}", [{"a": [1, [2], []]}]),
        ("{u'a': b'x'}", [{"a": "x"}]),
        ("[NaN, -Infinity, 1e999, nan]", [[None] * 4]),
        (f"[{'1' * 400}]", [[None]]),
        ('{"a": 1 // one\n, # two\n /* } */ "b": 2}', [{"a": 1, "b": 2}]),
        ("{“a”: “b”}", [{"a": "b"}]),
        ('["two\nlines\tand a tab"]', [["two\nlines\tand a tab"]]),
        (r'["C:\Users\me", "\x41\'"]', [[r"C:\Users\me", "A'"]]),
        ("[1\u00a0] [1\ufeff]", [[1], [1]]),
        ('{"a": [1, 2}', [{"a": [1, 2]}]),
        ('[{"a": 1]', [[{"a": 1}]]),
        ('{"a": "b", "c": "the text ends he', [{"a": "b", "c": "the text ends he"}]),
        ('{"a": 1, "b":', [{"a": 1}]),
        ('{"a": 1, "b', [{"a": 1}]),
        ('{"a": 1, "b": tr', [{"a": 1}]),
        ('{"a": 1, "b": {"c": [', [{"a": 1, "b": {"c": []}}]),
        ('```json\n{"a": [1, 2\n```\nThen [3].', [{"a": [1, 2]}, [3]]),
    ],
)
def test_near_misses_are_made_good(text: str, expected: list[object]) -> None:
    assert extracted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "He said {hello world} and [see below].",
        "body { color: red; margin: 0 auto }",
        "int main() { return 0; }",
        "[a link](http://example.com) and [it's 5]",
        '{"a"} {"a" 1} {a: b} [01] [1 2] [1,,2] {"a":1,,} [,] {,} {"a": [}',
        '["and then the quotation goes on',
        "[ { ( [",
        "['a\nb'] {'a\n': 1} [“a\nb”] {“a”: “b}",
        '{"a": {"b":',
    ],
)
def test_what_only_looks_like_json_is_left(text: str) -> None:
    assert extracted(text) == []


@given(st.text() | PIECES)
def test_every_result_can_be_sent(text: str) -> None:
    result = extract_json(text + r' {"\ud912": "\udd12"} ' + text)
    msgspec.json.encode(result)
    assert json.loads(ecma_json(result)).keys() == result.keys()
    assert all(math.isfinite(each) for each in numbers(result))


def numbers(value: object) -> Iterator[float]:
    match value:
        case dict():
            for each in value.values():
                yield from numbers(each)
        case list():
            for each in value:
                yield from numbers(each)
        case int() | float():
            yield value


def test_what_is_nested_too_deep_is_no_json_but_its_inside_is() -> None:
    deepest = "[" * DEPTH_MAX + "]" * DEPTH_MAX
    (found,) = find_json(deepest)
    assert (found.start, found.end, found.json) == (0, len(deepest), deepest)
    (found,) = find_json(f'{{"a": {deepest}}}')
    assert (found.start, found.end) == (6, 6 + len(deepest))
    (found,) = find_json("[1," * (DEPTH_MAX + 1))
    assert found.start == 3


HOSTILE = [
    ("{" * 100_000, 0),
    ("[" * 100_000, 0),
    ('[{"a":' * 50_000, 0),
    ("[" * 100_000 + "]" * 100_000, 1),
    ('["[",' * 20_000, 1),
    ('{"{":' * 20_000, 0),
    ('"[' * 50_000, 0),
    ('["' * 50_000, 1),
    ("['" * 50_000, 1),
    ('["\\"' * 25_000, 0),
    ('["' + 'a[\\"' * 25_000, 0),
    ("[1" * 50_000, 1),
    ("[1," * 100_000, 1),
    ("[" + "1" * 100_000, 1),
    (("[" + " " * 1000) * 300, 0),
    ("[/*" * 100_000, 0),
    ('[{"a":1},' * 10_000, 10_000 - DEPTH_MAX + 2),
    ("[" + '{"a":1,"b":["x"]},' * 5_000 + "1]", 1),
    ("(" * 100_000, 0),
    # Each bracket in a string reads on to the far end, where it breaks.
    ('["[1 /* ",/* */' * 5_000 + "1," * 50_000 + "!", 0),
    # Each quote is read to the end of its line, which does not close it.
    ("['a" * 40_000 + "\n", 0),
    ("['\\'" * 30_000 + "\n", 0),
    ("[“" * 50_000 + "\n", 0),
    ("{“a" * 40_000, 0),
]


@pytest.mark.parametrize("opening", ["'", "'it's ", "u'", "“", '"'])
def test_a_quote_that_nothing_closes_ends_where_its_reading_did(opening: str) -> None:
    token = read_token(f"{opening}aaaa\n[1]", 0)
    assert token.kind == JUNK
    assert token.end >= len(opening) + 4


@pytest.mark.parametrize(
    ("text", "count"), HOSTILE, ids=[f"{n} {text[:8]!r}" for n, (text, _) in enumerate(HOSTILE)]
)
def test_no_text_is_read_more_often_than_is_promised(
    text: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def counted(text: str, position: int) -> Token:
        nonlocal read
        token = read_token(text, position)
        read += token.end - position
        return token

    monkeypatch.setattr(json_scan, "read_token", counted)
    assert extract_json(text)["count"] == count
    assert read <= (READINGS_MAX + 1) * (len(text) + 1)
