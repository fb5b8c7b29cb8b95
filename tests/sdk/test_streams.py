"""Streams as our coordinators tell them: deltas, restarts, connections that break."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dispatchd.sdk import follow
from dispatchd.sdk.errors import ComputeError, JobFailed
from tests.sdk.pace import router_to

USER = "user_abc123"
Step = tuple[str, dict[str, Any]]
DONE: Step = ("done", {})


def told(*pieces: str) -> list[Step]:
    return [("delta", {"delta": piece}) for piece in pieces]


@asynccontextmanager
async def teller(
    *connections: list[Step], output: Any, status: str = "completed"
) -> AsyncIterator[str]:
    """A coordinator that tells each connection its steps, and then closes it."""
    left = list(connections)

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, (kind, data) in enumerate(left.pop(0)):
            text = f"id: {number}\r\nevent: {kind}\r\ndata: {json.dumps(data)}\r\n\r\n".encode()
            await response.write(b": still here\n\n" + text[:9])
            await asyncio.sleep(0)
            await response.write(text[9:])
        return response

    async def job(_: web.Request) -> web.Response:
        return web.json_response({"id": "j", "status": status, "result": output, "receipt": None})

    async def quote(_: web.Request) -> web.Response:
        return web.json_response({"price": "$0.010", "endpoint": "/v1/jobs/commit/fast"})

    async def commit(_: web.Request) -> web.Response:
        return web.json_response({"job_id": "j"}, status=201)

    app = web.Application()
    app.router.add_get("/v1/quote", quote)
    app.router.add_post("/v1/jobs/commit/fast", commit)
    app.router.add_get("/v1/jobs/j", job)
    app.router.add_get("/v1/jobs/j/events", events)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_PAUSE_SECONDS", 0.01)


async def test_pieces_come_one_by_one() -> None:
    steps = [*told("Hel", "lo"), DONE]
    async with (
        teller(steps, output={"text": "Hello", "model": "m"}) as url,
        router_to(url).stream_llm("Hi", user_id=USER) as stream,
    ):
        with pytest.raises(ComputeError, match="end"):
            _ = stream.result
        assert await anext(stream) == "Hel"
        assert (stream.text, stream.job_id) == ("Hel", "j")
        assert [piece async for piece in stream] == ["lo"]
        assert [piece async for piece in stream] == []
    assert stream.result.output["model"] == "m"
    assert stream.result.route == "decentralized:monad"


async def test_a_worker_that_says_the_same_again_is_not_noticed() -> None:
    steps = [*told("Hel"), ("status", {"status": "pending"}), *told("He", "llo"), DONE]
    async with teller(steps, output={"text": "Hello"}) as url:
        stream = router_to(url).stream_llm("Hi", user_id=USER)
        assert [piece async for piece in stream] == ["Hel", "lo"]
        assert stream.restarts == 0


async def test_a_worker_that_says_something_else_begins_anew() -> None:
    steps = [*told("Hel"), ("status", {"status": "pending"}), *told("Ho", "la"), DONE]
    async with teller(steps, output={"text": "Hola"}) as url:
        stream = router_to(url).stream_llm("Hi", user_id=USER)
        assert [piece async for piece in stream] == ["Hel", "Ho", "la"]
        assert stream.restarts == 1
        assert stream.text == "Hola"


async def test_a_connection_that_breaks_is_followed_by_another() -> None:
    second = [*told("Hello wo", "rld"), DONE]
    async with teller(told("Hel", "lo"), second, output={"text": "Hello world"}) as url:
        stream = router_to(url).stream_llm("Hi", user_id=USER)
        assert [piece async for piece in stream] == ["Hel", "lo", " wo", "rld"]


async def test_what_was_not_told_comes_with_the_result() -> None:
    async with teller([*told("Hel"), DONE], output={"text": "Hello"}) as url:
        stream = router_to(url).stream_llm("Hi", user_id=USER)
        assert [piece async for piece in stream] == ["Hel", "lo"]


async def test_a_stream_of_a_job_that_fails() -> None:
    async with teller([*told("Hel"), DONE], output={"error": "timeout"}, status="failed") as url:
        stream = router_to(url).stream_llm("Hi", user_id=USER)
        assert await anext(stream) == "Hel"
        with pytest.raises(JobFailed, match="timeout"):
            await anext(stream)
        with pytest.raises(ComputeError):
            await anext(stream)
