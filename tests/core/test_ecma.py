"""Our JSON is the text that ECMAScript would print."""

import json
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatchd.core.ecma import ecma_json
from tests.support.vectors import name_of, vectors


@pytest.mark.parametrize("vector", vectors("ecma_json"), ids=name_of)
def test_golden_texts(vector: dict[str, str]) -> None:
    assert ecma_json(json.loads(vector["text"])) == vector["printed"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    assert float(json.loads(ecma_json(value))) == value


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_string_reads_back_as_itself(text: str) -> None:
    assert json.loads(ecma_json(text)) == text


def test_lone_surrogates_are_replaced() -> None:
    assert ecma_json("a\ud800b") == '"a\ufffdb"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, {1: 2}, object(), b""])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ecma_json(value)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs program: node")
@settings(max_examples=5, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=200, max_size=200))
def test_node_prints_the_same_numbers(values: list[float]) -> None:
    script = "process.stdout.write(JSON.stringify(JSON.parse(process.argv[1])))"
    run = subprocess.run(
        ["node", "-e", script, json.dumps(values)], capture_output=True, text=True, check=True
    )
    assert run.stdout == ecma_json(values)
