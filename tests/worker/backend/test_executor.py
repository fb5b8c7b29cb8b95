"""Jobs over a real socket to a backend that does what a test says."""

import asyncio
import json
import logging
from contextlib import aclosing
from typing import Any

import pytest

from dispatchd.core.errors import ExecutionFailed
from dispatchd.core.limits import Limits
from dispatchd.worker import Output
from dispatchd.worker.backend import executor as executor_module
from dispatchd.worker.backend.executor import BackendExecutor
from tests.support.backend import (
    DIALECTS,
    DONE,
    MODEL,
    PATIENCE_SECONDS,
    TEXT,
    TEXTS,
    Backend,
    answering,
    chunk,
)
from tests.support.clock import HastyClock

SAID = [chunk({"content": text}) for text in TEXTS]
END = chunk({}, "stop")
BUSY_PAUSES = [1, 2, 4, 8]
TOO_LONG = {"error": {"message": "maximum context length is 8 tokens", "code": 400}}


async def run(executor: BackendExecutor, **payload: Any) -> tuple[list[str], dict[str, Any]]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        *pieces, output = [step async for step in executor.run(json.dumps(payload))]
    assert isinstance(output, Output)
    return [str(piece) for piece in pieces], output.value


async def failed(executor: BackendExecutor, **payload: Any) -> ExecutionFailed:
    with pytest.raises(ExecutionFailed) as caught:
        await run(executor, **({"prompt": "Hi"} | payload))
    return caught.value


@pytest.mark.parametrize("server", DIALECTS)
async def test_text_comes_in_pieces_and_then_the_whole(
    executor: BackendExecutor, backend: Backend, server: str
) -> None:
    backend.streams(*DIALECTS[server]())
    pieces, value = await run(executor, prompt="Hi", max_tokens=9)
    assert "".join(pieces) == TEXT
    assert value == {
        "text": TEXT,
        "model": MODEL,
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "finish_reason": "stop",
    }
    assert backend.asked == [
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 9,
            "temperature": 0.0,
        }
    ]


async def test_a_piece_is_there_before_the_next_is_sent(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.streams(SAID[0], then="hangs")
    async with aclosing(executor.run('{"prompt": "Hi"}')) as steps:
        assert await asyncio.wait_for(anext(steps), PATIENCE_SECONDS) == TEXTS[0]
        assert not backend.left.is_set()


async def test_a_drawn_seed_is_told_and_was_sent(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.streams(*SAID, END, DONE)
    _, value = await run(executor, prompt="Hi", temperature=1)
    assert value["seed"] == backend.asked[0]["seed"]
    assert list(value) == ["text", "model", "completion_tokens", "finish_reason", "seed"]
    backend.streams(*SAID, END, DONE)
    _, value = await run(executor, prompt="Hi", temperature=1, seed=-3)
    assert value["seed"] == -3


async def test_closing_ends_the_request_at_once(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.streams(SAID[0], then="hangs")
    steps = executor.run('{"prompt": "Hi"}')
    await asyncio.wait_for(anext(steps), PATIENCE_SECONDS)
    await steps.aclose()
    await backend.was_left()


async def test_cancelling_ends_a_request_that_has_no_answer_yet(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.hangs()
    running = asyncio.create_task(run(executor, prompt="Hi"))
    await backend.was_asked(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await backend.was_left()


@pytest.mark.parametrize("limits", [Limits(backend_silence_seconds=0.05)])
async def test_a_backend_that_falls_silent_is_left(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.streams(*SAID, then="hangs")
    failure = await failed(executor)
    assert failure.reason == "backend_failed: nothing came from it for 0.05 s"
    assert not failure.final
    await backend.was_left()


@pytest.mark.parametrize("limits", [Limits(backend_start_seconds=0.05)])
@pytest.mark.parametrize("begun", [True, False])
async def test_a_backend_that_never_begins_is_left(
    executor: BackendExecutor, backend: Backend, *, begun: bool
) -> None:
    if begun:
        backend.streams(chunk({"role": "assistant"}), then="hangs")
    else:
        backend.hangs()
    assert "nothing came from it" in (await failed(executor)).reason
    await backend.was_left()


async def test_a_stream_that_breaks_amid_the_text_fails_the_attempt(
    executor: BackendExecutor, backend: Backend
) -> None:
    for then in ("breaks", "ends"):
        backend.streams(*SAID, then=then)
        failure = await failed(executor)
        assert (failure.reason, failure.final) == ("backend_failed: it broke off", False)


async def test_a_stream_that_breaks_after_the_text_does_not(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.streams(*SAID, END, then="breaks")
    assert (await run(executor, prompt="Hi"))[1]["completion_tokens"] == 3


async def test_a_backend_that_goes_on_after_the_text_is_left(
    executor: BackendExecutor, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "_FIGURES_SECONDS", 0.05)
    backend.streams(*SAID, END, then="hangs")
    assert (await run(executor, prompt="Hi"))[1]["text"] == TEXT
    await backend.was_left()


async def test_a_prompt_that_is_too_long_fails_for_good(
    executor: BackendExecutor, backend: Backend
) -> None:
    for _ in range(2):
        backend.answers(400, TOO_LONG)
    failure = await failed(executor)
    assert (failure.reason, failure.final) == ("prompt_too_long", True)


async def test_where_only_the_answer_would_be_too_long_it_gets_the_room_there_is(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.answers(400, TOO_LONG)
    backend.streams(*SAID, chunk({}, "length"), DONE)
    _, value = await run(executor, prompt="Hi", max_tokens=5000)
    assert value["finish_reason"] == "length"
    first, second = backend.asked
    assert first.pop("max_tokens") == 5000
    assert first == second


async def test_a_field_that_is_not_taken_is_named(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.answers(400, {"error": {"message": "Unrecognized argument: top_k secret"}})
    failure = await failed(executor, top_k=5)
    assert (failure.reason, failure.final) == ("unsupported_parameter: top_k", True)


async def test_a_busy_backend_is_asked_again_after_pauses(
    executor: BackendExecutor, backend: Backend, hasty: HastyClock
) -> None:
    backend.answers(429)
    backend.answers(503, {"error": {"message": "Loading model"}}, Retry_After="20")
    backend.answers(429, Retry_After="9999")
    backend.streams(*SAID, END, DONE)
    assert (await run(executor, prompt="Hi"))[1]["text"] == TEXT
    assert hasty.slept == [1, 20, 30]


async def test_a_backend_that_stays_busy_fails_the_attempt(
    executor: BackendExecutor, backend: Backend, hasty: HastyClock
) -> None:
    for _ in range(5):
        backend.answers(429)
    failure = await failed(executor)
    assert (failure.reason, failure.final) == ("backend_busy: it answers 429", False)
    assert hasty.slept == BUSY_PAUSES


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (500, "backend_failed: it answers 500"),
        (502, "backend_unreachable: it answers 502"),
        (401, "backend_key_refused: it answers 401"),
        (404, "backend_model_missing: it answers 404"),
        (307, "backend_failed: it answers 307"),
    ],
)
async def test_what_is_the_backends_fault_is_not_final(
    executor: BackendExecutor, backend: Backend, status: int, reason: str
) -> None:
    backend.answers(status, "no", Location="http://127.0.0.1:1/")
    failure = await failed(executor)
    assert (failure.reason, failure.final) == (reason, False)


async def test_an_answer_that_is_no_stream(executor: BackendExecutor, backend: Backend) -> None:
    backend.answers(200, {"choices": []})
    assert (await failed(executor)).reason == "backend_failed: it does not stream"
    error = {"error": {"code": 400, "type": "exceed_context_size_error"}}
    for _ in range(2):
        backend.answers(200, error)
    assert (await failed(executor)).reason == "prompt_too_long"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [({"prompt": None}, "invalid_payload: "), ({"model": "other"}, "model_not_found")],
)
async def test_what_is_no_job_never_gets_there(
    executor: BackendExecutor, backend: Backend, payload: dict[str, Any], reason: str
) -> None:
    failure = await failed(executor, **payload)
    assert failure.reason.startswith(reason)
    assert failure.final
    assert backend.asked == []


async def test_while_the_backend_is_away_jobs_wait_for_it(
    executor: BackendExecutor, backend: Backend, hasty: HastyClock
) -> None:
    backend.answers(502)
    assert (await failed(executor)).reason == "backend_unreachable: it answers 502"
    backend.listing = answering(502)
    waiting = [asyncio.create_task(failed(executor)) for _ in range(3)]
    for failure in await asyncio.gather(*waiting):
        assert failure.reason == "backend_unreachable: it answers 502"
    assert len(backend.asked) == 1
    assert sum(hasty.slept) >= 30
    backend.listing = None
    backend.streams(*SAID, END, DONE)
    assert (await run(executor, prompt="Hi"))[1]["text"] == TEXT


async def test_a_model_that_is_gone_is_waited_for_too(
    executor: BackendExecutor, backend: Backend
) -> None:
    backend.answers(404)
    await failed(executor)
    backend.models = [{"id": "another"}]
    assert (await failed(executor)).reason == "backend_model_missing: it lists the model no more"
    backend.models = [{"id": "another"}, {"id": MODEL}]
    backend.streams(*SAID, END, DONE)
    assert (await run(executor, prompt="Hi"))[1]["text"] == TEXT


async def test_neither_prompts_nor_answers_are_logged(
    executor: BackendExecutor, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend.answers(401, {"error": {"message": "a secret prompt"}})
    reason = (await failed(executor, prompt="a secret prompt")).reason
    assert "backend" in caplog.text
    assert "secret" not in caplog.text + reason
