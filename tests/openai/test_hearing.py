"""A call and its job live and die together, with a remote worker over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from dispatchd.core.errors import ExecutionFailed, StoreUnavailable
from dispatchd.core.job import JobFilter, JobType
from dispatchd.worker import Executor
from tests.support.clock import FakeClock
from tests.support.executors import Scripted
from tests.support.foreign import foreign_worker
from tests.support.node import Node, running_node
from tests.support.ours import our_worker

MODEL = "org/scripted"
PATIENCE_SECONDS = 10

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
ANY = JobFilter(user_id=None, status=None, after=None, limit=9)
DONE: dict[str, object] = {
    "text": "one two",
    "model": MODEL,
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "finish_reason": "stop",
}


@pytest.fixture
async def client(node: Node) -> AsyncIterator[openai.AsyncOpenAI]:
    address = f"{node.url}/v1"
    async with openai.AsyncOpenAI(base_url=address, api_key="x", timeout=PATIENCE_SECONDS) as each:
        yield each


def chat(client: openai.AsyncOpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**(ASK | more))


async def only_job(node: Node) -> str:
    async with node.http.get(f"{node.url}/v1/jobs") as reply:
        (job,) = (await reply.json())["jobs"]
    return str(job["id"])


@asynccontextmanager
async def named_worker(node: Node, executor: Executor, *more: str) -> AsyncIterator[None]:
    """A connected worker with the model `MODEL`, and more, until the end of the block."""
    async with our_worker(node.url, {JobType.LLM_INFER: executor}, models=(MODEL, *more)):
        await until_seated(node, 1)
        yield


async def until_seated(node: Node, workers: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(node.parts.seats) < workers:
            await asyncio.sleep(0.002)


async def told(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await event.wait()


async def test_a_remote_worker_gets_what_was_asked(node: Node, client: openai.AsyncOpenAI) -> None:
    llm = Scripted()
    async with named_worker(node, llm):
        llm.pieces.put_nowait(DONE)
        reply = await chat(client, max_completion_tokens=5, stop=["x"], top_p=0.5)
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL
    assert (reply.choices[0].message.content, reply.usage.total_tokens) == ("one two", 5)
    assert json.loads(llm.payloads[0]) == {
        "job_type": "LLM_INFER",
        "messages": ASK["messages"],
        "max_tokens": 5,
        "top_p": 0.5,
        "stop": ["x"],
        "model": MODEL,
    }


async def test_text_is_streamed_as_it_comes(node: Node, client: openai.AsyncOpenAI) -> None:
    llm = Scripted()
    async with named_worker(node, llm):
        llm.pieces.put_nowait("one")
        stream = await chat(client, stream=True)
        assert stream.response.headers["X-Dispatch-Job-Id"] == await only_job(node)
        assert (await anext(stream)).choices[0].delta.role == "assistant"
        assert (await anext(stream)).choices[0].delta.content == "one"
        llm.pieces.put_nowait(" two")
        llm.pieces.put_nowait(DONE)
        rest = [chunk.choices[0] async for chunk in stream]
    assert "".join(choice.delta.content or "" for choice in rest) == " two"
    assert rest[-1].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_closing_the_connection_cancels_the_job_and_frees_the_place(
    node: Node, client: openai.AsyncOpenAI, stream: bool
) -> None:
    llm = Scripted()
    async with named_worker(node, llm):
        asking = asyncio.create_task(chat(client, stream=stream))
        await told(llm.started)  # nothing has been said yet: as amid a long prompt
        asking.cancel()
        await told(llm.stopped)
        job = await node.until(await only_job(node), "failed")
        assert job["result"] == {"error": "cancelled"}
        llm.pieces.put_nowait(DONE)
        assert (await chat(client)).choices[0].message.content == "one two"


async def test_leaving_a_stream_midway_cancels_the_job(
    node: Node, client: openai.AsyncOpenAI
) -> None:
    llm = Scripted()
    async with named_worker(node, llm):
        llm.pieces.put_nowait("one")
        async with await chat(client, stream=True) as stream:
            await anext(stream)
        await told(llm.stopped)
        job = await node.until(await only_job(node), "failed")
        assert job["result"] == {"error": "cancelled"}


async def left_while_the_store_is_away(
    node: Node, llm: Scripted, monkeypatch: pytest.MonkeyPatch, asking: asyncio.Task[Any]
) -> None:
    """The client has gone, and the node has found that it cannot cancel the job now."""
    tried = asyncio.Event()

    async def away(*_: object) -> None:
        tried.set()
        raise StoreUnavailable("The disk is full")

    await told(llm.started)
    monkeypatch.setattr(node.store.jobs, "fail", away)
    asking.cancel()
    await told(tried)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_job_that_is_left_while_the_store_is_away_is_cancelled_later(
    node: Node, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    llm = Scripted()
    async with named_worker(node, llm):
        asking = asyncio.create_task(chat(client, stream=stream))
        await left_while_the_store_is_away(node, llm, monkeypatch, asking)
        monkeypatch.undo()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not llm.stopped.is_set():
                node.clock.advance(1)
                await asyncio.sleep(0.002)
        await node.until(await only_job(node), "failed")


async def test_a_store_that_stays_away_holds_no_shutdown_up(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = Scripted()
    async with running_node(tmp_path / "jobs.sqlite3", clock) as node, named_worker(node, llm):
        async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", api_key="x") as client:
            asking = asyncio.create_task(chat(client))
            await left_while_the_store_is_away(node, llm, monkeypatch, asking)
        node.parts.feed.close()
        stopping = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopping < 1
    tasks = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    assert "Abandoned._try_again" not in tasks


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("prompt_too_long", 400, "context_length_exceeded"),
        ("invalid_payload: x", 400, "invalid_payload"),
        ("timeout", 504, "timeout"),
        ("odd", 500, "odd"),
    ],
)
async def test_failures_have_a_status(
    node: Node, client: openai.AsyncOpenAI, reason: str, status: int, code: str
) -> None:
    llm = Scripted()
    async with named_worker(node, llm):
        llm.pieces.put_nowait(ExecutionFailed(reason, final=True))
        with pytest.raises(openai.APIStatusError) as caught:
            await chat(client)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers["X-Dispatch-Job-Id"] == await only_job(node)
    assert len(llm.payloads) == 1


async def test_a_cancelled_job_is_not_asked_for_again(
    node: Node, client: openai.AsyncOpenAI
) -> None:
    llm = Scripted()
    async with named_worker(node, llm):
        asking = asyncio.create_task(chat(client))
        await told(llm.started)
        async with node.http.delete(f"{node.url}/v1/jobs/{await only_job(node)}"):
            pass
        with pytest.raises(openai.ConflictError) as caught:
            await asking
    assert caught.value.code == "cancelled"
    await only_job(node)


async def test_nobody_to_do_it(node: Node, client: openai.AsyncOpenAI) -> None:
    asking = asyncio.create_task(chat(client, model=None))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await node.parts.coordinator.list_jobs(ANY):
            await asyncio.sleep(0.005)
    await node.pass_time(32)
    with pytest.raises(openai.InternalServerError) as caught:
        await asking
    assert (caught.value.status_code, caught.value.code) == (503, "no_eligible_worker")


async def test_where_no_model_is_one_may_come(node: Node, client: openai.AsyncOpenAI) -> None:
    once = client.with_options(max_retries=0)
    for asking in (chat(once), once.models.retrieve(MODEL)):
        with pytest.raises(openai.InternalServerError) as caught:
            await asking
        assert (caught.value.status_code, caught.value.code) == (503, "no_eligible_worker")
        assert caught.value.response.headers["Retry-After"] == "5"
        assert "x-should-retry" not in caught.value.response.headers
    assert await node.parts.coordinator.list_jobs(ANY) == []


async def test_models_are_known_without_the_store(
    node: Node, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(type(node.store.records), "standings")
    async with foreign_worker(node.http, node.url) as strange:
        await strange.register("LLM_INFER", models=["unnameable"])
        async with named_worker(node, Scripted()):
            await until_seated(node, 2)
            assert [model.id async for model in client.models.list()] == [MODEL]


async def test_a_store_that_is_away_asks_for_no_key(
    node: Node, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("The disk is full")

    monkeypatch.setattr(node.store.jobs, "add", away)
    once = client.with_options(max_retries=0)
    with pytest.raises(openai.InternalServerError) as caught:
        await chat(once, model=None)
    assert isinstance(caught.value.body, dict)
    advice = "The disk is full. Send the same request again after Retry-After"
    assert caught.value.body["message"] == advice
    assert caught.value.response.headers["Retry-After"] == "5"


@pytest.mark.parametrize(("more", "named"), [((), MODEL), (("org/other",), "default")])
async def test_a_stream_names_one_model_from_its_beginning_to_its_end(
    node: Node, client: openai.AsyncOpenAI, more: tuple[str, ...], named: str
) -> None:
    llm = Scripted()
    ask: dict[str, Any] = {"model": None, "stream_options": {"include_usage": True}}
    async with named_worker(node, llm, *more):
        for piece in ("one", DONE, DONE | {"model": "org/other"}):
            llm.pieces.put_nowait(piece)
        chunks = [chunk async for chunk in await chat(client, stream=True, **ask)]
        assert {chunk.model for chunk in chunks} == {named}
        assert chunks[-1].usage.total_tokens == 5
        assert (await chat(client, model=None)).model == "org/other"


async def test_only_the_text_of_an_output_must_be_there(
    node: Node, client: openai.AsyncOpenAI
) -> None:
    llm = Scripted()
    odd: tuple[dict[str, object], ...] = (
        {"prompt_tokens": "3"},
        {"completion_tokens": [2]},
        {"completion_tokens": -1},
        {"completion_tokens": 1e300},
        {"prompt_tokens": True},
        {"prompt_tokens": 1.5, "finish_reason": 7, "model": 7},
    )
    async with named_worker(node, llm):
        for change in odd:
            llm.pieces.put_nowait(DONE | change)
            reply = await chat(client)
            assert reply.choices[0].message.content == "one two"
            assert (reply.choices[0].finish_reason, reply.model) == ("stop", MODEL)
            assert reply.usage is None


async def test_white_space_that_is_trimmed_at_the_end_ends_no_stream(
    node: Node, client: openai.AsyncOpenAI
) -> None:
    llm = Scripted()
    async with named_worker(node, llm):
        for piece in (" one two\n", DONE):
            llm.pieces.put_nowait(piece)
        pieces = [each.choices[0].delta.content async for each in await chat(client, stream=True)]
    assert "".join(piece or "" for piece in pieces) == " one two\n"


async def test_a_call_that_the_node_cannot_see_through_names_its_job(
    node: Node, client: openai.AsyncOpenAI
) -> None:
    once = client.with_options(max_retries=0)
    llm = Scripted()
    async with named_worker(node, llm):
        asking = asyncio.create_task(chat(once))
        await told(llm.started)
        node.parts.feed.close()
        with pytest.raises(openai.InternalServerError) as caught:
            await asking
    headers = caught.value.response.headers
    assert (caught.value.status_code, caught.value.code) == (503, "stopping")
    assert (headers["X-Dispatch-Job-Id"], headers["Retry-After"]) == (await only_job(node), "5")


@pytest.mark.parametrize("text", ["one two", "another"])
async def test_another_attempt_goes_on_with_the_text_or_ends_the_stream(
    node: Node, client: openai.AsyncOpenAI, text: str
) -> None:
    async with foreign_worker(node.http, node.url) as lost:
        await lost.register("LLM_INFER", version="x", models=[MODEL])
        opening = asyncio.create_task(chat(client, stream=True))
        job_id = (await lost.expect("job_assign"))["job_id"]
        await lost.send(type="job_progress", job_id=job_id, delta="one")
        stream = await opening
    llm = Scripted()
    async with named_worker(node, llm):
        llm.pieces.put_nowait(text)
        llm.pieces.put_nowait(DONE | {"text": text})
        if text.startswith("one"):
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            assert "".join(pieces) == text
        else:
            with pytest.raises(openai.APIError) as caught:
                [chunk async for chunk in stream]
            assert caught.value.code == "text_diverged"
