"""A server that speaks OpenAI's API as a test tells it to, and what the real ones send."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.support.process import free_port

PATIENCE_SECONDS = 10.0
MODEL = "tiny-1b"
TEXTS = ("Hel", "lo, ", "wörld 🌍")
TEXT = "".join(TEXTS)
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}

Does = Callable[[web.Request], Awaitable[web.StreamResponse]]


def event(value: object) -> bytes:
    """One event, with the letters as they are."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None, **rest: Any) -> bytes:
    """A piece of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    named = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return event(named | {"choices": [choice]} | rest)


def figures(**rest: Any) -> bytes:
    """What `include_usage` asks for."""
    return event({"object": "chat.completion.chunk", "choices": [], "usage": USAGE} | rest)


def vllm() -> list[bytes]:
    """As vLLM streams, with a reasoning parser: thoughts apart, and an empty piece at the end."""
    return [
        chunk({"role": "assistant", "content": ""}, logprobs=None),
        chunk({"reasoning_content": "Hm."}),
        chunk({"reasoning": "Hm."}),
        *(chunk({"content": text}, usage=None) for text in TEXTS),
        chunk({"content": ""}, "stop", stop_reason=None),
        figures(),
        DONE,
    ]


def llama_cpp() -> list[bytes]:
    """As llama.cpp's server streams: comments while it reads the prompt, null for no text."""
    return [
        b": ping\n\n",
        chunk({"role": "assistant", "content": None}, system_fingerprint="b7000-abc"),
        *(chunk({"content": text}) for text in TEXTS),
        chunk({}, "stop"),
        figures(timings={"prompt_n": 11, "predicted_n": 7, "predicted_ms": 12.5}),
        DONE,
    ]


def ollama() -> list[bytes]:
    """As Ollama streams: the role in every piece."""
    return [
        *(
            chunk({"role": "assistant", "content": text}, system_fingerprint="fp_ollama")
            for text in TEXTS
        ),
        chunk({"role": "assistant", "content": ""}, "stop"),
        figures(system_fingerprint="fp_ollama"),
        DONE,
    ]


DIALECTS: dict[str, Callable[[], list[bytes]]] = {
    "vllm": vllm,
    "llama.cpp": llama_cpp,
    "ollama": ollama,
}


class Backend:
    """What it lists and does next, what it was asked, and whether who asked has gone."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.models: list[dict[str, Any]] | None = [{"id": MODEL, "owned_by": "vllm"}]
        self.listing: Does | None = None
        self.does: list[Does] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.left = asyncio.Event()
        self._news = asyncio.Condition()

    @asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """It can be reached during the block."""
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield
        finally:
            await runner.cleanup()

    def streams(self, *chunks: bytes, then: str = "ends") -> None:
        """Its next answer: each chunk by itself; then it `ends`, `hangs` or `breaks`."""

        async def do(request: web.Request) -> web.StreamResponse:
            reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await reply.prepare(request)
            try:
                for each in chunks:
                    await reply.write(each)
                if then == "hangs":
                    await asyncio.Event().wait()
            except (asyncio.CancelledError, ConnectionError):
                self.left.set()
                raise
            if then == "breaks":
                assert request.transport
                request.transport.abort()
            return reply

        self.does.append(do)

    def hangs(self) -> None:
        """Its next answer does not even begin."""

        async def do(_: web.Request) -> web.StreamResponse:
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
            raise AssertionError

        self.does.append(do)

    def answers(self, status: int, body: object = None, **headers: str) -> None:
        """Its next answer."""
        self.does.append(answering(status, body, **headers))

    async def was_asked(self, times: int) -> None:
        """Waits until it has been asked for a text so often."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.asked) >= times)

    async def was_left(self) -> None:
        """Waits until who listened has gone."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.left.wait()

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Authorization"))
        if self.listing is not None:
            return await self.listing(request)
        return web.json_response({"object": "list", "data": self.models})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Authorization"))
        body = await request.json()
        async with self._news:
            self.asked.append(body)
            self._news.notify_all()
        return await self.does.pop(0)(request)


def answering(status: int, body: object = None, **headers: str) -> Does:
    """Answers with JSON, or with a text as it is."""
    text = body if isinstance(body, str) else json.dumps(body)

    async def do(_: web.Request) -> web.StreamResponse:
        kind = "text/plain" if isinstance(body, str) else "application/json"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, content_type=kind, headers=named)

    return do
