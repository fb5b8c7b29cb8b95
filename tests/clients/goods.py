"""What the published clients buy, and what shows that they have bought it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from x402.http import decode_payment_response_header

from dispatchd.payment.wallet import Wallet
from dispatchd.payment.wallets import development_wallet
from tests.e2e.client import TASK, USER
from tests.support.market import Market

PAYER = development_wallet(0)
PAYEE = development_wallet(10).address.lower()
_TASK = {"job_type": "TASK", "user_id": USER, "payload": TASK}
_CHAT = {"messages": [{"role": "user", "content": "What is a blockchain?"}], "max_tokens": 8}


class Goods(Struct, frozen=True):
    """An order and its price."""

    path: str
    body: dict[str, Any]
    price: int


class Reply(Struct, frozen=True):
    """What came of an order, by whatever client."""

    status: int
    headers: Mapping[str, str]
    text: str


GOODS = {
    "fast": Goods("/v1/jobs/commit/fast", _TASK, 3_000),
    "cheap": Goods("/v1/jobs/commit/cheap", _TASK, 1_000),
    "chat": Goods("/v1/chat/completions", _CHAT, 10_000),
    "stream": Goods("/v1/chat/completions", _CHAT | {"stream": True}, 10_000),
}


def key_of(wallet: Wallet) -> str:
    """The private key of a wallet, for others to sign with."""
    return "0x" + wallet._key.secret.hex()


@contextmanager
def costs(market: Market, amount: int) -> Iterator[None]:
    """What happens in the block moves just so much from the payer to the payee."""
    before = market.balances()
    yield
    after = market.balances()
    payer = PAYER.address.lower()
    assert (before[payer] - after[payer], after.get(PAYEE, 0) - before.get(PAYEE, 0)) == (
        amount,
        amount,
    )
    assert sum(after.values()) == sum(before.values())


def assert_bought(market: Market, goods: Goods, reply: Reply) -> None:
    """The order has become a job that is completed and paid for."""
    assert reply.status in {200, 201}, reply.text
    headers = {name.lower(): value for name, value in reply.headers.items()}
    if goods.path.startswith("/v1/jobs"):
        answer = json.loads(reply.text)
        assert answer["payment"]["state"] in {"authorized", "capturing", "captured"}
        job_id = answer["job_id"]
    else:
        job_id = headers["x-dispatch-job-id"]
        _assert_chat(reply, headers, stream="stream" in goods.body)
    payment = market.captured(job_id)["payment"]
    assert (payment["amount"], payment["simulated"]) == (str(goods.price), True)
    assert payment["transaction"].startswith("0x")


def _assert_chat(reply: Reply, headers: Mapping[str, str], *, stream: bool) -> None:
    if stream:
        assert reply.text.endswith("data: [DONE]\n\n"), reply.text
        return
    assert json.loads(reply.text)["choices"][0]["message"]["content"]
    for name in ("payment-response", "x-payment-response"):
        assert decode_payment_response_header(headers[name]).success
