"""OpenAI's own client pays for its chats, by a transport around the published client of x402."""

from collections.abc import Iterator

import httpx2
import openai
import pytest
from eth_account import Account
from x402 import x402ClientSync
from x402.http import x402HTTPClientSync
from x402.mechanisms.evm.exact.register import register_exact_evm_client

from tests.clients.goods import GOODS, PAYER, costs, key_of
from tests.support.market import Market

CHAT = GOODS["chat"]
QUESTION: list[openai.types.chat.ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is a blockchain?"}
]


class PayingTransport(httpx2.HTTPTransport):
    """Sends again, with a payment, what is answered with a 402."""

    def __init__(self, client: x402HTTPClientSync) -> None:
        super().__init__()
        self._client = client

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = super().handle_request(request)
        if reply.status_code != 402:
            return reply
        payment, _ = self._client.handle_402_response(
            dict(reply.headers), reply.read(), str(request.url)
        )
        request.headers.update(payment)
        return super().handle_request(request)


@pytest.fixture
def client(monad: Market) -> Iterator[openai.OpenAI]:
    payer = register_exact_evm_client(x402ClientSync(), Account.from_key(key_of(PAYER)))
    http = httpx2.Client(transport=PayingTransport(x402HTTPClientSync(payer)))
    base_url = f"{monad.url}/v1"
    with openai.OpenAI(base_url=base_url, api_key="none", http_client=http, timeout=30) as client:
        yield client


def test_a_chat_is_paid_for(monad: Market, client: openai.OpenAI) -> None:
    with costs(monad, CHAT.price):
        reply = client.chat.completions.with_raw_response.create(
            model="demo-chat", messages=QUESTION, max_tokens=8
        )
        assert reply.parse().choices[0].message.content
        monad.captured(reply.headers["X-Dispatch-Job-Id"])


def test_a_streamed_chat_is_paid_for(monad: Market, client: openai.OpenAI) -> None:
    with costs(monad, CHAT.price):
        stream = client.chat.completions.create(
            model="demo-chat", messages=QUESTION, max_tokens=8, stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        monad.captured(stream.response.headers["X-Dispatch-Job-Id"])
