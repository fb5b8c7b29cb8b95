"""Where the network fails, PUBLIC jobs go to a hosted provider, and PRIVATE ones nowhere."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dispatchd.sdk.errors import (
    HostedFailed,
    InvalidRequest,
    JobFailed,
    Unreachable,
    VerificationFailed,
)
from dispatchd.sdk.hosted import Account, HostedAccounts
from tests.sdk.foreign_coordinator import foreign_coordinator
from tests.sdk.pace import router_to
from tests.support.process import free_port

USER = "user_abc123"


class Providers:
    """OpenAI and Anthropic, as far as the SDK knows them."""

    def __init__(self) -> None:
        self.url = ""
        self.answer = "Hello from afar"
        self.broken: set[str] = set()
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    async def openai(self, request: web.Request) -> web.Response:
        if reply := await self._seen("openai", request):
            return reply
        message = {"role": "assistant", "content": self.answer}
        return web.json_response(
            {
                "model": "gpt-x",
                "choices": [{"message": message, "finish_reason": "length"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 4},
            }
        )

    async def anthropic(self, request: web.Request) -> web.Response:
        if reply := await self._seen("anthropic", request):
            return reply
        return web.json_response(
            {
                "model": "claude-x",
                "content": [{"type": "text", "text": self.answer}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 5, "output_tokens": 6},
            }
        )

    async def _seen(self, name: str, request: web.Request) -> web.Response | None:
        self.seen.append((name, dict(request.headers), await request.json()))
        if name in self.broken:
            return web.json_response({"error": {"message": "bad key"}}, status=401)
        return None

    def accounts(self, *names: str, preferred: str = "openai") -> HostedAccounts:
        given = {name: Account(f"{name}-key", f"{self.url}/{name}", "m") for name in names}
        return HostedAccounts(**given, preferred=preferred)


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    here = Providers()
    app = web.Application()
    app.router.add_post("/openai/chat/completions", here.openai)
    app.router.add_post("/anthropic/messages", here.anthropic)
    server = TestServer(app)
    await server.start_server()
    here.url = str(server.make_url("")).rstrip("/")
    yield here
    await server.close()


@pytest.fixture
def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def test_openai_answers_in_the_networks_shape(providers: Providers, nowhere: str) -> None:
    router = router_to(nowhere, providers.accounts("openai"))
    result = await router.run_llm("Hi", 9, USER, system="Be kind", seed=7, stop=["x"], top_k=3)
    assert result.output == {
        "text": "Hello from afar",
        "model": "gpt-x",
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "finish_reason": "length",
    }
    assert (result.route, result.price, result.receipt) == ("hosted:openai", None, None)
    ((_, headers, body),) = providers.seen
    assert headers["Authorization"] == "Bearer openai-key"
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": "Hi"},
        ],
        "max_completion_tokens": 9,
        "temperature": 0.0,
        "seed": 7,
        "stop": ["x"],
    }
    with pytest.raises(VerificationFailed, match="hosted:openai"):
        router.verify(result)


async def test_anthropic_answers_in_the_networks_shape(providers: Providers, nowhere: str) -> None:
    router = router_to(nowhere, providers.accounts("anthropic"))
    messages = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]
    result = await router.run_llm(
        user_id=USER, messages=messages, temperature=1.5, stop="x", model="demo-chat"
    )
    assert result.route == "hosted:anthropic"
    assert result.output["finish_reason"] == "stop"
    ((_, headers, body),) = providers.seen
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("anthropic-key", "2023-06-01")
    assert body == {
        "model": "m",
        "messages": messages[1:],
        "system": "Be kind",
        "max_tokens": 1024,
        "temperature": 1.0,
        "stop_sequences": ["x"],
    }


async def test_the_preferred_one_first_then_the_other(providers: Providers, nowhere: str) -> None:
    accounts = providers.accounts("openai", "anthropic", preferred="anthropic")
    assert (await router_to(nowhere, accounts).run_llm("Hi", user_id=USER)).route[7:] == "anthropic"
    providers.broken = {"anthropic"}
    assert (await router_to(nowhere, accounts).run_llm("Hi", user_id=USER)).route[7:] == "openai"
    providers.broken = {"anthropic", "openai"}
    with pytest.raises(HostedFailed, match="bad key") as caught:
        await router_to(nowhere, accounts).run_llm("Hi", user_id=USER)
    assert isinstance(caught.value.__cause__, Unreachable)
    assert "openai-key" not in str(caught.value) + repr(accounts)


@pytest.mark.parametrize(
    ("task", "answer", "output"),
    [
        ("summarize", " It is short. ", {"summary": "It is short.", "word_count": 3}),
        (
            "classify",
            '```json\n{"sentiment": "negative", "confidence": 0.9}\n```',
            {"sentiment": "negative", "confidence": 0.9},
        ),
        ("extract_json", '[{"a": 1}]', {"extracted": [{"a": 1}], "count": 1}),
    ],
)
async def test_tasks_are_prompted(
    providers: Providers, nowhere: str, task: str, answer: str, output: dict[str, Any]
) -> None:
    providers.answer = answer
    router = router_to(nowhere, providers.accounts("openai"))
    result = await router.run_task(task, "one two three", USER)
    assert result.output == output
    assert "one two three" in json.dumps(providers.seen[0][2])


@pytest.mark.parametrize("answer", ["no JSON", '{"sentiment": "angry", "confidence": 1}', "[1]"])
async def test_an_answer_that_is_no_result(providers: Providers, nowhere: str, answer: str) -> None:
    providers.answer = answer
    with pytest.raises(HostedFailed):
        await router_to(nowhere, providers.accounts("openai")).run_task("classify", "x", USER)


async def test_a_private_job_goes_nowhere_else(providers: Providers, nowhere: str) -> None:
    router = router_to(nowhere, providers.accounts("openai", "anthropic"))
    with pytest.raises(Unreachable):
        await router.run_llm("secret", user_id=USER, privacy="PRIVATE")
    with pytest.raises(Unreachable):
        await router.run_task("classify", "secret", USER, privacy="PRIVATE")
    with pytest.raises(Unreachable):
        await anext(router.stream_llm("secret", user_id=USER, privacy="PRIVATE"))
    assert providers.seen == []


@pytest.mark.parametrize(("error", "goes"), [("no_eligible_worker", True), ("cancelled", False)])
async def test_a_job_that_failed_goes_elsewhere_unless_it_was_cancelled(
    providers: Providers, error: str, *, goes: bool
) -> None:
    async with foreign_coordinator(error=error) as other:
        router = router_to(other.url, providers.accounts("openai"))
        if goes:
            assert (await router.run_llm("Hi", user_id=USER)).route == "hosted:openai"
        else:
            with pytest.raises(JobFailed):
                await router.run_llm("Hi", user_id=USER)


async def test_a_stream_goes_elsewhere_too(providers: Providers, nowhere: str) -> None:
    stream = router_to(nowhere, providers.accounts("openai")).stream_llm("Hi", user_id=USER)
    assert [piece async for piece in stream] == ["Hello from afar"]
    assert stream.result.route == "hosted:openai"


def test_accounts_come_from_the_environment() -> None:
    read: Callable[[dict[str, str]], HostedAccounts] = HostedAccounts.from_environment
    assert read({}).in_order == []
    both = read({"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"})
    assert [name for name, _ in both.in_order] == ["openai", "anthropic"]
    other = read(
        {
            "OPENAI_API_KEY": "a",
            "ANTHROPIC_API_KEY": "b",
            "PREFERRED_HOSTED_PROVIDER": "Anthropic",
        }
    )
    assert [name for name, _ in other.in_order] == ["anthropic", "openai"]
    with pytest.raises(InvalidRequest, match="skynet"):
        read({"PREFERRED_HOSTED_PROVIDER": "skynet"})
