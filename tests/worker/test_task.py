"""TASK jobs as they are asked for: options, and what only a language model can do."""

import json
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from typing import Any

import jsonschema_rs
import pytest

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.batch.load import open_batcher
from dispatchd.engine.catalog import DEFAULT_SUMMARIZER, find
from dispatchd.engine.generate import Generation, TextModel, load_text_model
from dispatchd.engine.request import TextRequest
from dispatchd.engine.salience import load_salience
from dispatchd.worker import Output
from dispatchd.worker.llm import LlmExecutor
from dispatchd.worker.task import TaskExecutor
from dispatchd.worker.tasks.extract_json import extract_json
from dispatchd.worker.tasks.summarize import summarize
from dispatchd.worker.written import Author
from tests.support.plain_model import write_plain
from tests.support.small_model import prepare_small

TASKS: dict[str, Any] = {
    "summarize": partial(summarize, salience=load_salience(find(DEFAULT_SUMMARIZER).path)),
    "extract_json": extract_json,
}
TEXT = "Ann is 31. " * 60
NUMBERS = " ".join(f"Number {n} stands for a thing called w{'o' * n}rd." for n in range(40))
# Every string and list has an end, since a model with random weights never comes to one.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["person", "company"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 3},
        "mail": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-z]{1,5}@b$"}]},
    },
    "required": ["name", "age", "kind", "tags", "mail"],
    "additionalProperties": False,
}


async def run(author: Author | None = None, **payload: Any) -> dict[str, Any]:
    async def there() -> Author:
        assert author is not None
        return author

    executor = TaskExecutor(TASKS, None if author is None else there)
    (output,) = [step async for step in executor.run(json.dumps(payload))]
    assert isinstance(output, Output)
    return output.value


class Says:
    """An author that says the same to everything, and keeps what it was asked."""

    name = "says"

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[TextRequest] = []

    async def generate(self, request: TextRequest) -> AsyncGenerator[str | Generation]:
        self.asked.append(request)
        yield self.text[:3]
        yield Generation(self.text, 1, 1, "stop")


@pytest.fixture(scope="module")
def batcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batcher]:
    batcher = open_batcher(prepare_small(tmp_path_factory.mktemp("int8")), threads=1, slots=4)
    yield batcher
    batcher.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return load_text_model(write_plain(tmp_path_factory.mktemp("plain")), threads=1)


@pytest.fixture(params=["batcher", "plain"])
def author(request: pytest.FixtureRequest) -> Iterator[LlmExecutor]:
    executor = LlmExecutor(request.getfixturevalue(request.param), parallel=2)
    yield executor
    executor._threads.shutdown()


async def test_a_summary_is_as_long_as_asked_for() -> None:
    short = await run(task_type="summarize", input=NUMBERS)
    longer = await run(task_type="summarize", input=NUMBERS, max_length=500.0, mode="extractive")
    assert len(short["summary"]) <= 200 < len(longer["summary"]) <= 500


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"task_type": "translate", "input": "x"}, "unsupported_task_type"),
        ({"task_type": "summarize"}, "invalid_payload: input is missing"),
        ({"task_type": "summarize", "input": "x", "max_length": 5}, "invalid_payload: max_length"),
        ({"task_type": "summarize", "input": "x", "max_length": 1e9}, "invalid_payload: max_le"),
        ({"task_type": "summarize", "input": "x", "mode": "best"}, "invalid_payload: mode"),
        ({"task_type": "extract_json", "input": "x", "schema": True}, "invalid_payload: schema"),
        ({"task_type": "summarize", "input": "x", "mode": "abstractive"}, "no_language_m.*: mode"),
        ({"task_type": "extract_json", "input": "x", "schema": {}}, "no_language_model: schema"),
    ],
)
async def test_what_cannot_be_done_fails_for_good(payload: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExecutionFailed, match=reason) as caught:
        await run(**payload)
    assert caught.value.final


async def test_an_option_of_another_task_means_nothing() -> None:
    value = await run(task_type="extract_json", input="[1]", mode="abstractive", max_length=50)
    assert value == {"extracted": [[1]], "count": 1}


async def test_a_model_summarizes_in_whole_sentences() -> None:
    says = Says("Ann is 31 years old. She says so sixty times. And then she goes on.")
    value = await run(says, task_type="summarize", mode="abstractive", input=TEXT, max_length=50)
    assert value == {
        "summary": "Ann is 31 years old. She says so sixty times.",
        "word_count": 180,
        "model": "says",
    }
    (request,) = says.asked
    assert request.messages[-1].content == TEXT
    assert "50 characters" in request.messages[0].content


async def test_fields_are_json_of_the_schema_whatever_the_weights(author: LlmExecutor) -> None:
    value = await run(author, task_type="extract_json", input="Ann is 31.", schema=SCHEMA)
    (fields,) = value["extracted"]
    jsonschema_rs.validate(SCHEMA, fields)
    assert (value["count"], value["model"]) == (1, author.name)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"$ref": "#/nowhere"},
        {"enum": []},
        {"type": "string", "pattern": "(?=a)"},
    ],
    ids=["type", "ref", "enum", "pattern"],
)
async def test_a_schema_that_is_none_fails_for_good(
    author: LlmExecutor, schema: dict[str, Any]
) -> None:
    with pytest.raises(ExecutionFailed, match="invalid_schema: ") as caught:
        await run(author, task_type="extract_json", input="x", schema=schema)
    assert caught.value.final


async def test_json_that_comes_to_no_end_is_no_result(
    author: LlmExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatchd.worker.written.SCHEMA_TOKENS_MAX", 20)
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 5000}
    with pytest.raises(ExecutionFailed, match="output_too_long"):
        await run(author, task_type="extract_json", input="x", schema=schema)


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000 + "]" * 100_000])
async def test_json_that_cannot_be_read_fails_for_good(text: str) -> None:
    asked = {"task_type": "extract_json", "input": TEXT, "schema": {}}
    with pytest.raises(ExecutionFailed, match="output_too_large") as caught:
        await run(Says(text), **asked)
    assert caught.value.final
