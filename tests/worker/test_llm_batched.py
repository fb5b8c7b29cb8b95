"""LLM_INFER jobs over a prepared model: the executor's promises, with the batcher beneath."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dispatchd.core.errors import ExecutionFailed
from dispatchd.engine.batch.batcher import Batcher
from dispatchd.engine.batch.load import open_batcher
from dispatchd.worker import Output
from dispatchd.worker.llm import LlmExecutor
from tests.support.small_model import prepare_small

LIMIT_SECONDS = 20


@pytest.fixture(scope="module")
def batcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batcher]:
    batcher = open_batcher(prepare_small(tmp_path_factory.mktemp("int8")), threads=1, slots=4)
    yield batcher
    batcher.close()


@pytest.fixture
def executor(batcher: Batcher) -> Iterator[LlmExecutor]:
    executor = LlmExecutor(batcher, parallel=4)
    yield executor
    executor._threads.shutdown()


async def run(executor: LlmExecutor, **payload: Any) -> tuple[list[str], dict[str, Any]]:
    *pieces, output = [step async for step in executor.run(json.dumps(payload))]
    assert isinstance(output, Output)
    return [str(piece) for piece in pieces], output.value


async def test_closing_it_ends_the_engine(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    executor = LlmExecutor(open_batcher(prepare_small(tmp_path), threads=1, slots=2), parallel=2)
    running = asyncio.create_task(run(executor, prompt="gas", max_tokens=10**6, ignore_eos=True))
    await asyncio.sleep(0)
    await asyncio.to_thread(executor.close)
    with pytest.raises(ExecutionFailed, match="cancelled"):
        async with asyncio.timeout(LIMIT_SECONDS):
            await running
    assert not {each.name for each in set(threading.enumerate()) - before} & {"engine"}


async def test_text_comes_in_pieces_and_then_the_whole(
    executor: LlmExecutor, batcher: Batcher
) -> None:
    pieces, value = await run(executor, prompt="gas", max_tokens=20, ignore_eos=True)
    assert "".join(pieces) == value["text"] != ""
    assert (value["model"], value["completion_tokens"]) == ("small", 20)
    assert value["determinism"]["model_sha256"] == batcher.determinism.model_sha256
    assert json.loads(json.dumps(value)) == value


async def test_jobs_at_once_get_what_each_gets_alone(executor: LlmExecutor) -> None:
    jobs: list[dict[str, Any]] = [
        {"prompt": f"what is {n}", "temperature": n % 2, "seed": n, "max_tokens": 30, "min_p": 0.01}
        for n in range(12)
    ]
    alone = [(await run(executor, **job))[1] for job in jobs]
    together = await asyncio.gather(*(run(executor, **job) for job in jobs))
    assert [value for _, value in together] == alone


async def test_the_penalty_of_a_job_is_heard(executor: LlmExecutor) -> None:
    job: dict[str, Any] = {"prompt": "gas", "max_tokens": 40, "ignore_eos": True}
    plain = (await run(executor, **job))[1]["text"]
    assert (await run(executor, **job, repetition_penalty=5))[1]["text"] != plain


async def test_the_stop_ids_of_a_job_are_heard(executor: LlmExecutor, batcher: Batcher) -> None:
    plain = (await run(executor, prompt="gas", max_tokens=40, ignore_eos=True))[1]["text"]
    ids = batcher._folder.tokenizer.encode(plain, add_special_tokens=False).ids[:64]
    _, value = await run(executor, prompt="gas", max_tokens=40, stop_token_ids=ids)
    assert (value["finish_reason"], value["completion_tokens"] < 40) == ("stop", True)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({}, "invalid_payload: "),
        ({"prompt": "Hi", "model": "other"}, "model_not_found"),
        ({"prompt": "blockchain " * 2000}, "prompt_too_long"),
        ({"prompt": "Hi", "repetition_penalty": 0}, "invalid_payload: "),
    ],
)
async def test_what_cannot_be_done_fails_for_good(
    payload: dict[str, Any], reason: str, executor: LlmExecutor
) -> None:
    with pytest.raises(ExecutionFailed, match=reason) as caught:
        await run(executor, **payload)
    assert caught.value.final


async def test_closing_frees_the_slots(executor: LlmExecutor) -> None:
    endless = json.dumps({"prompt": "gas", "max_tokens": 400, "ignore_eos": True})
    for _ in range(3):
        async with asyncio.timeout(LIMIT_SECONDS):
            streams = [executor.run(endless) for _ in range(4)]
            for stream in streams:
                await anext(stream)
            for stream in streams:
                await stream.aclose()
    async with asyncio.timeout(LIMIT_SECONDS), aclosing(executor.run(endless)) as stream:
        assert await anext(stream)


async def test_closing_before_the_prompt_is_encoded_is_heard(executor: LlmExecutor) -> None:
    for _ in range(20):
        running = asyncio.create_task(run(executor, prompt="gas", max_tokens=400, ignore_eos=True))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    async with asyncio.timeout(LIMIT_SECONDS):
        assert (await run(executor, prompt="gas", max_tokens=3))[1]["completion_tokens"] <= 3
