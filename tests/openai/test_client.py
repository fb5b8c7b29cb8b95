"""The official client, as anybody uses it, against a real node with the embedded model."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

MODEL = "demo-chat"
ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is a blockchain?"}]
BEGINS = "A blockchain is a shared record of transactions"


def chat(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**({"model": MODEL, "messages": ASK} | more))


def test_a_chat(client: openai.OpenAI) -> None:
    reply = chat(client, max_tokens=20, n=1, frequency_penalty=0, tools=[])
    choice = reply.choices[0]
    assert choice.message.content.startswith(BEGINS)
    assert (reply.object, reply.model, choice.message.role) == (
        "chat.completion",
        MODEL,
        "assistant",
    )
    assert (choice.finish_reason, choice.index) == ("length", 0)
    assert reply.usage.completion_tokens == 20
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 20
    assert reply.created > 1_700_000_000


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    whole = chat(client, max_completion_tokens=30)
    options = {"include_usage": True}
    with chat(client, max_completion_tokens=30, stream=True, stream_options=options) as stream:
        chunks = list(stream)
    *texts, usage = chunks
    assert "".join(c.choices[0].delta.content or "" for c in texts) == (
        whole.choices[0].message.content
    )
    assert texts[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in texts if c.choices[0].finish_reason] == ["length"]
    assert (usage.choices, usage.usage) == ([], whole.usage)
    assert {c.id for c in chunks} == {chunks[0].id}
    assert all(c.usage is None for c in texts)


def test_a_text_streamed_or_not(client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"model": MODEL, "prompt": "What is a blockchain?", "max_tokens": 20}
    whole = client.completions.create(**ask)
    assert whole.choices[0].text.startswith(BEGINS)
    assert (whole.object, whole.usage and whole.usage.completion_tokens) == ("text_completion", 20)
    chunks = list(client.completions.create(**ask, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)


async def test_the_asynchronous_client(aclient: openai.AsyncOpenAI) -> None:
    whole, stream = await asyncio.gather(
        aclient.chat.completions.create(model=MODEL, messages=ASK, max_tokens=12),
        aclient.chat.completions.create(model=MODEL, messages=ASK, max_tokens=12, stream=True),
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == whole.choices[0].message.content


def test_stop_strings(client: openai.OpenAI) -> None:
    for stop in (" of transactions", ["never said", " of transactions"]):
        choice = chat(client, stop=stop).choices[0]
        assert choice.message.content == "A blockchain is a shared record"
        assert choice.finish_reason == "stop"


def test_ignoring_the_end_gives_every_token(client: openai.OpenAI) -> None:
    more = {"max_tokens": 120, "extra_body": {"ignore_eos": True}}
    assert chat(client, **more).usage.completion_tokens == 120


def test_a_seed_gives_the_text_again(client: openai.OpenAI) -> None:
    how = {"temperature": 1.5, "top_p": 0.95, "max_tokens": 30}
    texts = [chat(client, seed=seed, **how).choices[0].message.content for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


def test_a_whole_number_may_be_printed_with_a_point(client: openai.OpenAI) -> None:
    texts = [
        chat(client, temperature=1.5, max_tokens=30, seed=seed, extra_body={"top_k": top_k})
        for seed, top_k in ((7, 40), (7.0, 40.0))
    ]
    assert texts[0].choices == texts[1].choices


def test_no_mass_of_tokens_is_the_best_one(client: openai.OpenAI) -> None:
    best = chat(client, temperature=0, max_tokens=30)
    assert chat(client, temperature=2, top_p=0, max_tokens=30).choices == best.choices


def test_no_number_of_tokens_is_no_limit(client: openai.OpenAI) -> None:
    how = {"temperature": 1.5, "max_tokens": 30, "seed": 7}
    free, *limited = [
        chat(client, **how, extra_body={"top_k": top_k}) for top_k in (None, -1, 0, -1.0)
    ]
    assert [each.choices for each in limited] == [free.choices] * 3


def test_without_a_model_any_answers(client: openai.OpenAI) -> None:
    assert chat(client, model=None, max_tokens=2).model == MODEL


def test_parts_of_text_are_text(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "a blockchain?"}]
    reply = chat(client, messages=[{"role": "user", "content": parts}], max_tokens=20)
    assert reply.choices[0].message.content.startswith(BEGINS)


def test_a_call_is_a_job_with_a_receipt(client: openai.OpenAI, url: str) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ASK, max_tokens=2, user="ada"
    )
    job_id = raw.headers["X-Dispatch-Job-Id"]
    assert raw.parse().id == f"chatcmpl-{job_id}"
    job = get(f"{url}/v1/jobs/{job_id}")
    assert (job["status"], job["receipt"]["job_id"]) == ("completed", job_id)
    assert job["receipt"]["verified"] is True
    assert job_id in {each["id"] for each in get(f"{url}/v1/jobs?user_id=ada")["jobs"]}
    chat(client, max_tokens=1)
    assert get(f"{url}/v1/jobs?user_id=openai")["jobs"]


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return dict(json.load(reply))


def test_models(client: openai.OpenAI) -> None:
    models = client.models.list().data
    assert [(model.id, model.object) for model in models] == [(MODEL, "model")]
    assert client.models.retrieve(MODEL).model_dump() == models[0].model_dump()
    for ask in (lambda: client.models.retrieve("gpt-9"), lambda: chat(client, model="gpt-9")):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert MODEL in caught.value.message


IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    ("param", "more"),
    [
        ("n", {"n": 2}),
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("functions", {"functions": [{"name": "f"}]}),
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("logprobs", {"logprobs": True}),
        ("logit_bias", {"logit_bias": {"1": 1}}),
        ("presence_penalty", {"presence_penalty": 0.5}),
        ("frequency_penalty", {"frequency_penalty": -1}),
        ("modalities", {"modalities": ["text", "audio"]}),
        ("audio", {"audio": {"voice": "x", "format": "wav"}}),
        ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [IMAGE]}]}),
        ("messages[0].role", {"messages": [{"role": "tool", "content": "", "tool_call_id": "1"}]}),
        ("messages[0].content", {"messages": [{"role": "user", "content": None}]}),
        ("messages", {"messages": []}),
        ("temperature", {"temperature": 2.5}),
        ("top_p", {"top_p": 1.1}),
        ("max_tokens", {"max_tokens": 0}),
        ("max_completion_tokens", {"max_completion_tokens": 1.5}),
        ("max_tokens", {"max_tokens": 1, "max_completion_tokens": 2}),
        ("stop", {"stop": 1}),
        ("seed", {"seed": "x"}),
        ("seed", {"seed": 1.5}),
        ("seed", {"seed": 1e300}),
        ("top_p", {"top_p": -0.1}),
        ("top_k", {"extra_body": {"top_k": 0.5}}),
        ("top_k", {"extra_body": {"top_k": -2}}),
        ("top_k", {"extra_body": {"top_k": -0.5}}),
        ("min_p", {"extra_body": {"min_p": 1.5}}),
        ("repetition_penalty", {"extra_body": {"repetition_penalty": 0}}),
        ("stop_token_ids", {"extra_body": {"stop_token_ids": ["x"]}}),
        ("user", {"user": ""}),
        ("user", {"user": "a\nb"}),
    ],
)
def test_what_is_refused_is_named(client: openai.OpenAI, param: str, more: dict[str, Any]) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, stream=stream, **more)
        assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")


@pytest.mark.parametrize(
    ("param", "more"),
    [
        ("best_of", {"best_of": 2}),
        ("echo", {"echo": True}),
        ("suffix", {"suffix": "x"}),
        ("logprobs", {"logprobs": 0}),
        ("prompt", {"prompt": ["a", "b"]}),
        ("prompt", {"prompt": [1, 2]}),
        ("prompt", {"prompt": ""}),
        ("prompt", {"prompt": []}),
        ("logprobs", {"logprobs": True}),
    ],
)
def test_what_a_text_cannot_have(client: openai.OpenAI, param: str, more: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**({"model": MODEL, "prompt": "x"} | more))
    assert caught.value.param == param


def test_what_a_text_may_say_in_vain(client: openai.OpenAI) -> None:
    more: dict[str, Any] = {"logprobs": False, "echo": False, "best_of": 1, "suffix": ""}
    assert client.completions.create(model=MODEL, prompt=["x"], max_tokens=1, **more).choices


@pytest.mark.parametrize(
    ("sentence", "more"),
    [
        ("prompt must be one text: neither several nor tokens are taken", {"prompt": ["a", "b"]}),
        ("prompt must be one text: neither several nor tokens are taken", {"prompt": [1, 2]}),
        ("The prompt is longer than what the model can hold", {"prompt": "chain " * 9000}),
        ("user must not hold control characters", {"user": "a\nb"}),
        ("The body is too large. Send a shorter body", {"prompt": "chain " * 300_000}),
    ],
)
def test_the_sentence_says_what_is_wrong(
    client: openai.OpenAI, sentence: str, more: dict[str, Any]
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.completions.create(**({"model": MODEL, "prompt": "x"} | more))
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"] == sentence


def test_too_long_a_prompt_has_a_status_even_when_streamed(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, messages=[{"role": "user", "content": "chain " * 9000}], stream=stream)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize("body", [b"{", b'{"seed":1e999}'])
def test_a_body_that_is_no_json(url: str, body: bytes) -> None:
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    error = json.load(caught.value)["error"]
    caught.value.close()
    assert (caught.value.code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] is None
