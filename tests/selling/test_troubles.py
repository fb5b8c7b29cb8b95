"""Forgers, stores that are away for a moment, and answers that come late or never."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.limits import Limits
from dispatchd.core.payment import Offer, Settlement, Verdict
from dispatchd.payment import Kind
from dispatchd.payment.payload import PaymentPayload
from dispatchd.payment.signature import SIGNATURE_BYTES
from tests.payment.paying import packed, unpacked
from tests.selling.buying import ALICE, ANSWER, BOB, PRICE, Market, order
from tests.selling.conftest import MONAD, selling
from tests.selling.desk import AWAY, LOST, Desk
from tests.support.clock import FakeClock
from tests.support.executors import Gated, Instant

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "Hi"}]}
FAR = replace(MONAD, pay_to=BOB.address, facilitator="http://127.0.0.1:9")
PATIENCE_SECONDS = 5
_RESPONSE = "PAYMENT-RESPONSE"


class Chain:
    """A facilitator that is long about contract wallets, and refuses them."""

    def __init__(self) -> None:
        self.decided = asyncio.Event()
        self.deciding = 0

    async def verify(self, payload: PaymentPayload, offer: Offer) -> Verdict:
        del offer
        if len(payload.signature) == SIGNATURE_BYTES:
            return Verdict(valid=True, payer=payload.payer)
        self.deciding += 1
        await self.decided.wait()
        return Verdict(valid=False, payer=payload.payer, reason="invalid_payload")

    async def settle(self, payload: PaymentPayload, offer: Offer) -> Settlement:
        return Settlement(success=True, network=offer.network, payer=payload.payer, transaction="0")

    async def supported(self) -> Sequence[Kind]:
        return [Kind(2, "exact", "eip155:10143", {})]


def forged(headers: dict[str, str]) -> dict[str, str]:
    """A payment with a signature that only a facilitator with a chain can judge."""
    ((name, value),) = headers.items()
    payment = unpacked(value)
    payment["payload"]["signature"] = "0x" + "11" * 97
    return {name: packed(payment)}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():
            await asyncio.sleep(0.002)


def failing(
    monkeypatch: pytest.MonkeyPatch, part: object, verb: str, times: int = 1
) -> list[tuple[Any, ...]]:
    """A verb of a store that is away the first times; what it was then asked."""
    works = getattr(part, verb)
    failed: list[tuple[Any, ...]] = []

    async def fail(*given: Any) -> Any:
        if len(failed) < times:
            failed.append(given)
            raise StoreUnavailable("The job store does not work at the moment.")
        return await works(*given)

    monkeypatch.setattr(part, verb, fail)
    return failed


async def test_forged_payments_do_not_lock_their_alleged_payer_up(
    tmp_path: Path, clock: FakeClock
) -> None:
    chain = Chain()
    async with selling(tmp_path, clock, chain, FAR) as market:
        forgeries = [forged(await market.signed(ALICE)) for _ in range(5)]
        asking = [asyncio.create_task(market.post(headers=each)) for each in forgeries]
        await until(lambda: chain.deciding >= 4)
        bought = await market.post(headers=await market.signed(ALICE))
        chain.decided.set()
        assert bought.status == 201, bought.body
        assert {each.status for each in await asyncio.gather(*asking)} == {402}


async def test_payments_that_come_at_once_are_not_more_than_a_payer_may_open(
    market: Market, desk: Desk
) -> None:
    payments = [await market.signed() for _ in range(9)]
    desk.open.clear()
    asking = [asyncio.create_task(market.post(headers=each)) for each in payments]
    await until(lambda: desk.asked["verify"] == 9)
    desk.open.set()
    answers = await asyncio.gather(*asking)
    assert sorted(each.status for each in answers) == [201] * 4 + [429] * 5
    assert len(market.rows()) == 4


async def test_a_payment_that_could_not_be_dropped_may_be_used_again(
    market: Market, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await market.signed()
    desk.verifying = [AWAY]
    failing(monkeypatch, market.node.store.payments, "drop")
    assert (await market.post(headers=headers)).status == 503
    assert [row["state"] for row in market.rows()] == ["verifying"]
    assert (await market.post(headers=headers)).status == 201


async def test_payments_that_could_not_be_dropped_count_for_nothing(
    market: Market, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.verifying = [AWAY] * 4
    failing(monkeypatch, market.node.store.payments, "drop", times=4)
    for _ in range(4):
        assert (await market.post(headers=await market.signed())).status == 503
    assert (await market.post(headers=await market.signed())).status == 201


async def test_a_first_payment_is_captured_though_the_store_was_away(
    distrusted: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = distrusted
    headers = await market.signed()
    failing(monkeypatch, market.node.store.payments, "of_job")
    async with market.slow_worker():
        bought = await market.post(headers=headers)
    assert bought.status == 201, bought.body
    async with market.worker(Instant(ANSWER)):
        market.node.clock.advance(20)
        await market.node.until(bought.job_id, "completed")
    assert await market.spent() == PRICE


async def test_a_job_that_is_stored_is_told_though_its_payment_cannot_be_read(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await market.signed()
    failing(monkeypatch, market.node.store.payments, "of_job")
    bought = await market.post(headers=headers)
    assert (bought.status, bought.body) == (201, {"job_id": bought.body.get("job_id")})


async def test_what_was_charged_is_never_said_to_be_free(distrusted: Market) -> None:
    """The call pays first, and then nobody can do its job."""
    market = distrusted
    headers = await market.signed(path=CHAT, body=ASKED)
    async with market.slow_worker():
        asking = asyncio.create_task(market.post(CHAT, ASKED, headers))
        await until(lambda: [row["state"] for row in market.rows()] == ["failed", "captured"])
    await market.node.pass_time(32)
    failed = await asking
    assert failed.status == 503
    assert failed.body["charged"] is True
    assert unpacked(failed.headers[_RESPONSE])["success"] is True


async def test_a_chat_that_was_paid_is_told_though_its_payment_cannot_be_read(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await market.signed(path=CHAT, body=ASKED)
    failed = failing(monkeypatch, market.node.store.payments, "of_job", times=100)
    async with market.worker(Instant({"text": "Hello", "model": "m"})):
        answer = await market.post(CHAT, ASKED, headers)
    assert failed
    assert (answer.status, _RESPONSE in answer.headers) == (200, False)


async def test_a_chat_that_fails_is_not_charged(market: Market) -> None:
    headers = await market.signed(path=CHAT, body=ASKED)
    async with market.worker(Instant({"error": "boom", "final": True})):
        failed = await market.post(CHAT, ASKED, headers)
    assert (failed.status, failed.body["charged"]) == (500, False)


@pytest.mark.parametrize("number", ["1e400", "9" * 5000])
async def test_a_payload_with_a_number_that_nobody_can_read(market: Market, number: str) -> None:
    body = json.dumps(order()).replace('"input"', f'"more": {number}, "input"')
    url, headers = market.node.url + "/v1/jobs/commit/fast", {"Content-Type": "application/json"}
    async with market.node.http.post(url, data=body, headers=headers) as reply:
        said = await reply.json()
    assert (reply.status, said["charged"]) == (400, False)
    assert said["error"].startswith("payload")


async def test_a_body_that_is_too_long_is_not_charged(tmp_path: Path, clock: FakeClock) -> None:
    async with selling(tmp_path, clock, limits=Limits(body_bytes_max=1000)) as market:
        headers = await market.signed()
        answer = await market.post(body=order("u" * 2000), headers=headers)
    assert (answer.status, answer.body["charged"]) == (413, False)
    assert answer.body["code"] == "too_large"


async def test_an_early_answer_to_an_old_question_decides_nothing(
    market: Market, desk: Desk
) -> None:
    """What was read before a try whose outcome is unknown takes no second one for the first."""
    store = market.node.store.payments
    async with market.worker(Instant(ANSWER)):
        desk.settling = [LOST]
        job_id = await market.buy()
        await until(lambda: desk.asked["settle"] == 1)
        await until(lambda: market.rows()[0]["tries"] == 1)
    payment = await store.of_job(job_id)
    assert payment is not None
    assert market.node.parts.sales is not None
    desk.settling = ["invalid_exact_evm_nonce_already_used"]
    captures = market.node.parts.sales.captures
    await captures._begin(replace(payment, tries=0))  # as a read that came too late has it
    assert (await market.payment_of(job_id))["state"] == "capturing"
    market.node.clock.advance(2)
    await market.until(job_id, "captured")
    assert await market.spent() == PRICE


async def test_a_settlement_that_was_made_before_is_one(market: Market, desk: Desk) -> None:
    desk.settling = [LOST, "duplicate_settlement"]
    async with market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        await until(lambda: market.rows()[0]["tries"] == 1)
        market.node.clock.advance(2)
        job = await market.until(job_id, "captured")
    assert job["result"] == ANSWER


async def test_a_job_whose_money_moved_late_has_its_whole_time(
    distrusted: Market, desk: Desk
) -> None:
    market = distrusted
    desk.settling = [AWAY] * 2
    async with market.slow_worker():
        job_id = await market.buy()
    desk.open.clear()
    await asyncio.sleep(0.02)
    market.node.clock.advance(1.5)
    await until(lambda: desk.asked["settle"] == 2)
    await market.node.pass_time(899)
    desk.open.set()
    await until(lambda: market.rows()[-1]["tries"] == 2)
    await asyncio.sleep(0.02)
    market.node.clock.advance(60)
    await market.until(job_id, "captured")
    running = Gated(ANSWER)
    async with market.worker(running):
        await running.started.wait()
        await market.node.pass_time(20)
        running.go.set()
        await market.node.until(job_id, "completed")
