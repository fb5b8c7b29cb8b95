import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.generate import TextModel, load_text_model
from dispatchd.worker import Output
from dispatchd.worker.llm import LlmExecutor
from tests.support.plain_model import NAME, write_plain

QUESTION = "What is a blockchain?"
LIMIT_SECONDS = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return load_text_model(write_plain(tmp_path_factory.mktemp("llm")), threads=1)


@pytest.fixture
def executor(model: TextModel) -> Iterator[LlmExecutor]:
    executor = LlmExecutor(model, parallel=2)
    yield executor
    executor._threads.shutdown()


async def run(executor: LlmExecutor, **payload: Any) -> tuple[list[str], dict[str, Any]]:
    *pieces, output = [step async for step in executor.run(json.dumps(payload))]
    assert isinstance(output, Output)
    return [str(piece) for piece in pieces], output.value


async def test_text_comes_in_pieces_and_then_the_whole(executor: LlmExecutor) -> None:
    pieces, value = await run(executor, prompt=QUESTION, max_tokens=20)
    assert "".join(pieces) == value["text"]
    assert list(value) == ["text", "model", "prompt_tokens", "completion_tokens", "finish_reason"]
    assert (value["model"], value["completion_tokens"]) == (NAME, 20)
    assert value["finish_reason"] == "length"


async def test_messages_may_take_the_place_of_the_prompt(executor: LlmExecutor) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    asked = await run(executor, messages=messages, max_tokens=20)
    assert asked[1] == (await run(executor, prompt=QUESTION, max_tokens=20))[1]


async def test_a_drawn_seed_is_told_and_gives_the_text_again(executor: LlmExecutor) -> None:
    how = {"prompt": QUESTION, "max_tokens": 40, "temperature": 2}
    _, first = await run(executor, **how)
    _, second = await run(executor, **how)
    assert first["seed"] != second["seed"]
    assert 0 <= first["seed"] < 2**53
    _, again = await run(executor, **how, seed=first["seed"])
    assert again == first


async def test_a_seed_is_told_as_it_was_given(executor: LlmExecutor) -> None:
    _, value = await run(executor, prompt=QUESTION, max_tokens=2, temperature=1, seed=-3)
    assert value["seed"] == -3
    _, value = await run(executor, prompt=QUESTION, max_tokens=2, temperature=0, seed=-3)
    assert "seed" not in value


async def test_a_stop_string_never_shows(executor: LlmExecutor) -> None:
    _, whole = await run(executor, prompt=QUESTION)
    stop = whole["text"][20:30]
    pieces, value = await run(executor, prompt=QUESTION, stop=stop)
    assert "".join(pieces) == value["text"] == whole["text"].partition(stop)[0]
    assert value["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({}, "invalid_payload: "),
        ({"prompt": "Hi", "model": "other"}, "model_not_found"),
        ({"prompt": "blockchain " * 2000}, "prompt_too_long"),
    ],
)
async def test_what_cannot_be_done_fails_for_good(
    payload: dict[str, Any], reason: str, executor: LlmExecutor
) -> None:
    with pytest.raises(ExecutionFailed, match=reason) as caught:
        await run(executor, **payload)
    assert caught.value.final


class Gate:
    """Lets the session's steps begin one by one, and counts them."""

    def __init__(self, model: TextModel, patch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        self.begun = threading.Event()
        self._permits = threading.Semaphore(0)
        self._run = model._decoder._session.run
        patch.setattr(model._decoder._session, "run", self._step)

    def open(self, steps: int) -> None:
        self._permits.release(steps)

    def _step(self, *arguments: Any, **rest: Any) -> Any:
        self.steps += 1
        self.begun.set()
        assert self._permits.acquire(timeout=LIMIT_SECONDS)
        return self._run(*arguments, **rest)


async def test_the_first_text_is_there_before_the_second_step_ends(
    executor: LlmExecutor, model: TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)
    gate.open(1)
    async with aclosing(executor.run(json.dumps({"prompt": QUESTION}))) as steps:
        assert await asyncio.wait_for(anext(steps), LIMIT_SECONDS)
        assert gate.steps <= 2
    gate.open(5)


async def test_closing_stops_the_engine_within_a_step(
    executor: LlmExecutor, model: TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)
    gate.open(3)
    payload = json.dumps({"prompt": QUESTION, "temperature": 1, "ignore_eos": True})
    steps = executor.run(payload)
    await asyncio.wait_for(anext(steps), LIMIT_SECONDS)
    await steps.aclose()
    steps_at_close = gate.steps
    gate.open(1000)
    await asyncio.to_thread(executor._threads.shutdown)
    assert gate.steps - steps_at_close <= 1


async def test_closing_amid_a_long_prompt_stops_the_engine_within_a_step(
    executor: LlmExecutor, model: TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)
    running = asyncio.create_task(run(executor, prompt="blockchain " * 400))
    assert await asyncio.to_thread(gate.begun.wait, LIMIT_SECONDS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.open(1000)
    await asyncio.to_thread(executor._threads.shutdown)
    assert gate.steps == 1
