"""On Solana a payment is captured at commit, and what is in it is the facilitator's business."""

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dispatchd.core.errors import FacilitatorAway
from dispatchd.core.payment import Offer, Settlement, Verdict
from dispatchd.payment import Kind
from dispatchd.payment.payload import PaymentPayload
from tests.selling.buying import ANSWER, TASK, Answer, Market
from tests.selling.conftest import MONAD, selling
from tests.support.clock import FakeClock
from tests.support.executors import Instant
from tests.support.node import running_node

DEVNET = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"
PAYEE = "7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV"
FEE_PAYER = "2wKupLR9q6wXYppw8Gr2NvWxKBUqm4PPJKkQfoxHDBg4"
CONFIG = replace(MONAD, network=DEVNET, pay_to=PAYEE, facilitator="http://127.0.0.1:9")
_TASK_PRICE = "3000"


class Far:
    """A facilitator that takes any transaction on Solana, as long as it is there."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def verify(self, payload: PaymentPayload, offer: Offer) -> Verdict:
        self._ask("verify", offer)
        return Verdict(valid=True, payer="somebody")

    async def settle(self, payload: PaymentPayload, offer: Offer) -> Settlement:
        self._ask("settle", offer)
        await self.open.wait()
        return Settlement(success=True, network=offer.network, transaction="5h" * 32)

    async def supported(self) -> Sequence[Kind]:
        self._ask("supported")
        return [Kind(2, "exact", DEVNET, {"feePayer": FEE_PAYER})]

    def _ask(self, what: str, offer: Offer | None = None) -> None:
        self.asked.append(what)
        if what in self.away:
            raise FacilitatorAway("The facilitator cannot be reached.")
        if offer is not None:
            assert (offer.pay_to, offer.extra) == (PAYEE, {"feePayer": FEE_PAYER})


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
async def market(tmp_path: Path, clock: FakeClock, far: Far) -> Any:
    async with selling(tmp_path, clock, far, CONFIG) as market:
        yield market


async def bought_with(market: Market, headers: dict[str, str]) -> Answer:
    """Money moves at commit, and only while there is somebody who can do the job."""
    async with market.slow_worker():
        return await market.post(headers=headers)


def signed(offer: dict[str, Any], message: bytes = b"moves the money") -> dict[str, str]:
    """A payment with a partly signed transaction: one empty signature, and what is signed."""
    transaction = base64.b64encode(b"\x01" + bytes(64) + message).decode()
    payment = {"x402Version": 2, "accepted": offer, "payload": {"transaction": transaction}}
    return {"PAYMENT-SIGNATURE": base64.b64encode(json.dumps(payment).encode()).decode()}


async def offered(market: Market) -> dict[str, Any]:
    asked = await market.post()
    assert asked.status == 402
    (offer,) = json.loads(base64.b64decode(asked.headers["PAYMENT-REQUIRED"]))["accepts"]
    return dict(offer)


async def test_the_offer_names_who_pays_the_fee(market: Market) -> None:
    offer = await offered(market)
    assert (offer["network"], offer["payTo"], offer["amount"]) == (DEVNET, PAYEE, _TASK_PRICE)
    assert offer["extra"] == {"feePayer": FEE_PAYER}


async def test_money_moves_at_commit(market: Market, far: Far) -> None:
    headers = signed(await offered(market))
    bought = await bought_with(market, headers)
    assert bought.body["payment"]["state"] == "captured"
    assert "PAYMENT-RESPONSE" in bought.headers
    assert far.asked[-2:] == ["verify", "settle"]
    async with market.worker(Instant(ANSWER)):
        job = await market.node.until(bought.job_id, "completed")
    assert job["receipt"]["payment_ref"].startswith(f"{DEVNET}/token:")
    again = await market.post(headers=headers)
    assert (again.job_id, far.asked.count("settle")) == (bought.job_id, 1)


async def test_the_fee_payers_place_in_a_transaction_says_nothing(market: Market) -> None:
    offer = await offered(market)
    first = await bought_with(market, signed(offer))
    used = signed(offer)
    payment = json.loads(base64.b64decode(used["PAYMENT-SIGNATURE"]))
    raw = base64.b64decode(payment["payload"]["transaction"])
    payment["payload"]["transaction"] = base64.b64encode(
        raw[:1] + bytes([7]) * 64 + raw[65:]
    ).decode()
    header = base64.b64encode(json.dumps(payment).encode()).decode()
    twin = await market.post(headers={"PAYMENT-SIGNATURE": header})
    assert (twin.status, twin.body["error"]) == (402, "payment_already_used")
    other = await bought_with(market, signed(offer, b"another"))
    assert other.job_id != first.job_id


async def test_an_unknown_outcome_holds_the_job(market: Market, far: Far) -> None:
    far.away = {"settle"}
    bought = await bought_with(market, signed(await offered(market)))
    assert (bought.status, bought.body["payment"]["state"]) == (201, "capturing")
    async with market.worker(Instant(ANSWER)):
        assert (await market.node.job(bought.job_id))["status"] == "pending"
        far.away.clear()
        market.node.clock.advance(2)
        await market.node.until(bought.job_id, "completed")


async def test_without_the_facilitator_there_is_no_offer(
    tmp_path: Path, clock: FakeClock, far: Far
) -> None:
    far.away = {"supported"}
    async with selling(tmp_path, clock, far, CONFIG) as market:
        asked = await market.post()
        assert (asked.status, asked.body["charged"]) == (503, False)
        assert "Retry-After" in asked.headers
        far.away.clear()
        assert (await market.post()).status == 402


async def test_what_a_node_without_payments_finds_of_them_is_said(
    tmp_path: Path, clock: FakeClock, far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    async with selling(tmp_path, clock, far, CONFIG) as market:
        far.away = {"settle"}
        job_id = (await bought_with(market, signed(await offered(market)))).job_id
    async with running_node(tmp_path / "jobs.sqlite3", clock) as free:
        assert "1 payment" in caplog.text
        assert (await free.job(job_id))["payment"]["state"] == "capturing"
        assert await free.commit(TASK)
    far.away.clear()
    async with selling(tmp_path, clock, far, CONFIG) as market:
        await market.until(job_id, "captured")


async def test_commits_that_are_slow_to_settle_keep_nobody_else_from_it(
    market: Market, far: Far
) -> None:
    offer = await offered(market)
    far.away = {"settle"}
    owed = (await bought_with(market, signed(offer))).job_id
    far.away.clear()
    far.open.clear()
    async with market.slow_worker():
        slow = [
            asyncio.create_task(market.post(headers=signed(offer, bytes([n])))) for n in range(20)
        ]
        async with asyncio.timeout(5):
            while far.asked.count("settle") < 1 + len(slow):
                await asyncio.sleep(0.002)
        market.node.clock.advance(20)
        async with asyncio.timeout(5):
            while far.asked.count("settle") < 2 + len(slow):
                await asyncio.sleep(0.002)
        far.open.set()
        await market.until(owed, "captured")
        assert {(await each).status for each in slow} == {201}
