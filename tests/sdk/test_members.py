"""The texts of a JSON object's members, as they stand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchd.sdk.members import members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), VALUES), st.sampled_from([None, 1]))
def test_what_is_printed_is_found_again(value: dict[str, object], indent: int | None) -> None:
    found = members(json.dumps(value, indent=indent))
    assert {name: json.loads(text) for name, text in found.items()} == value


def test_texts_are_kept_to_the_letter() -> None:
    text = ' {"a" : 1.0 ,\n"b":{ "c":"\\ud83d"},"\\u0061b":[ ]} '
    assert members(text) == {"a": "1.0", "b": '{ "c":"\\ud83d"}', "ab": "[ ]"}
    assert members("{ }") == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a"}', '{"a":}', '{"a":1,}', "{1:2}", '{"a":1'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expect|Expect|Invalid|Unterm|prop"):
        members(text)
