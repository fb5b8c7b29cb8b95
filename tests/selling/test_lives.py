"""A payment's life: when money is reserved, when it moves, and when it never does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from dispatchd.core.errors import ExecutionFailed
from dispatchd.core.limits import Limits
from tests.payment.paying import unpacked
from tests.selling.buying import ALICE, ANSWER, BOB, PRICE, TASK, Market, order
from tests.selling.conftest import selling
from tests.selling.desk import AWAY, LOST, Desk
from tests.support.clock import FakeClock
from tests.support.events import events
from tests.support.executors import Gated, Instant, Scripted
from tests.support.foreign import foreign_worker

DONE = json.dumps(ANSWER)
NONCE_USED = "invalid_exact_evm_nonce_already_used"
TEXT: dict[str, object] = {"text": "one two", "model": "m"}


@pytest.mark.parametrize("version", [1, 2])
async def test_money_is_reserved_at_commit_and_moves_at_completion(
    market: Market, desk: Desk, version: int
) -> None:
    headers = await market.signed(version=version)
    bought = await market.post(headers=headers)
    assert bought.body["payment"]["state"] == "authorized"
    assert bought.body["payment"]["amount"] == str(PRICE)
    assert bought.body["payment"]["simulated"] is True
    assert (desk.asked["verify"], desk.asked["settle"], await market.spent()) == (1, 0, 0)
    async with foreign_worker(market.node.http, market.node.url) as worker:
        await worker.register("TASK")
        assigned = await worker.expect("job_assign")
        reference = assigned["payment_ref"]
        assert reference.startswith(
            "eip155:10143/erc20:0x534b2f3a21130d7a60830c2df862319e593943a3/"
        )
        assert f"/auth/{ALICE.address.lower()}/0x" in reference
        completion = worker.completion(bought.job_id, DONE, payment_ref=reference)
        await worker.socket.send_str(completion)
        job = await market.until(bought.job_id, "captured")
    assert (job["status"], job["receipt"]["payment_ref"]) == ("completed", reference)
    assert job["payment"]["transaction"].startswith("0x")
    assert await market.spent() == PRICE
    (row,) = market.rows()
    assert (row["state"], row["text"]) == ("captured", None)


async def test_the_settlement_is_told_in_both_headers(market: Market) -> None:
    async with market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        job = await market.until(job_id, "captured")
    async with market.node.http.get(f"{market.node.url}/v1/jobs/{job_id}") as reply:
        new, old = (unpacked(reply.headers[n]) for n in ("PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"))
    said = {"success": True, "transaction": job["payment"]["transaction"]}
    assert new.items() >= (said | {"network": "eip155:10143"}).items()
    assert old.items() >= (said | {"network": "monad-testnet"}).items()
    assert new["payer"].lower() == ALICE.address.lower()


async def test_a_receipt_that_names_another_payment_fails_the_attempt(market: Market) -> None:
    job_id = await market.buy()
    async with foreign_worker(market.node.http, market.node.url) as worker:
        await worker.register("TASK")
        await worker.expect("job_assign")
        await worker.socket.send_str(worker.completion(job_id, DONE, payment_ref="eip155:1/x"))
        assert (await worker.expect("error"))["code"] == "BAD_RECEIPT"
    assert await market.spent() == 0


async def test_the_result_is_withheld_until_the_money_has_moved(market: Market, desk: Desk) -> None:
    executor = Scripted()
    async with market.worker(executor):
        body = order(job_type="LLM_INFER", payload={"job_type": "LLM_INFER", "prompt": "Hi"})
        job_id = (await market.post(body=body, headers=await market.signed(body=body))).job_id
        desk.open.clear()
        node = market.node
        waiting = asyncio.create_task(answer(market, f"/v1/jobs/{job_id}?wait=9"))
        async with node.http.get(f"{node.url}/v1/jobs/{job_id}/events") as stream:
            heard = events(stream)
            executor.pieces.put_nowait("one")
            async for name, data, _ in heard:
                if name == "delta":
                    assert data["delta"] == "one"  # text comes as it is made
                    break
            executor.pieces.put_nowait(TEXT)
            job = await market.until(job_id, "capturing")
            assert (job["status"], job["result"], job["receipt"]) == ("running", None, None)
            assert job["completed_at"] is None
            listed = await answer(market, "/v1/jobs?status=running")
            assert [each["result"] for each in listed["jobs"]] == [None]
            assert (await market.node.http.delete(f"{node.url}/v1/jobs/{job_id}")).status == 409
            assert not waiting.done()
            desk.open.set()
            rest = [(name, data) async for name, data, _ in heard]
    assert (await waiting)["result"] == TEXT
    name, done = rest[-1]
    assert (name, done["result"], done["payment"]["state"]) == ("done", TEXT, "captured")


async def answer(market: Market, path: str) -> dict[str, Any]:
    async with market.node.http.get(market.node.url + path) as reply:
        return dict(json.loads(await reply.text()))


async def fails_by_cancelling(market: Market, job_id: str) -> None:
    async with market.node.http.delete(f"{market.node.url}/v1/jobs/{job_id}") as reply:
        assert (await reply.json())["payment"]["state"] == "released"


async def fails_for_want_of_workers(market: Market, job_id: str) -> None:
    await market.node.pass_time(32)


async def fails_by_its_worker(market: Market, job_id: str) -> None:
    async with market.worker(Instant({"error": "boom", "final": True})):
        await market.node.until(job_id, "failed")


async def fails_by_an_executor(market: Market, job_id: str) -> None:
    broken = Gated(ExecutionFailed("broken", final=True))
    broken.go.set()
    async with market.worker(broken):
        await market.node.until(job_id, "failed")


async def fails_while_it_runs(market: Market, job_id: str) -> None:
    running = Gated()
    async with market.worker(running):
        await running.started.wait()
        await market.node.until(job_id, "running")
        await fails_by_cancelling(market, job_id)


@pytest.mark.parametrize(
    "fails",
    [
        fails_by_cancelling,
        fails_for_want_of_workers,
        fails_by_its_worker,
        fails_by_an_executor,
        fails_while_it_runs,
    ],
)
async def test_a_job_that_fails_is_never_paid_for(market: Market, desk: Desk, fails: Any) -> None:
    job_id = await market.buy()
    await fails(market, job_id)
    job = await market.node.until(job_id, "failed")
    assert (job["payment"]["state"], job["payment"]["transaction"]) == ("released", None)
    (row,) = market.rows()
    assert (row["state"], row["text"]) == ("released", None)  # what could be settled is destroyed
    await market.node.pass_time(120)
    assert (desk.asked["settle"], await market.spent()) == (0, 0)


@pytest.mark.parametrize("running", [True, False])
async def test_a_paid_job_has_an_end_time(
    tmp_path: Path, clock: FakeClock, desk: Desk, *, running: bool
) -> None:
    limits = Limits(llm_run_seconds=100_000, task_run_seconds=100_000, lease_seconds=10_000)
    busy = Gated()
    async with selling(tmp_path, clock, desk, limits=limits) as market, market.worker(busy):
        first = await market.buy()
        await market.node.until(first, "running")
        job_id = first if running else await market.buy(BOB)
        ((header, signed),) = (await market.signed(BOB)).items()
        clock.advance(300)
        shorter = (await market.post(headers={header: signed})).job_id  # its payment has 900 s left
        clock.advance(599)
        await market.node.pass_time(0.5)
        assert (await market.node.job(job_id))["status"] != "failed"
        await market.node.pass_time(2)
        job = await market.node.until(job_id, "failed")
        assert (job["result"], job["payment"]["state"]) == ({"error": "timeout"}, "released")
        await market.node.pass_time(250)  # 30 s before the end of its payment
        assert (await market.node.job(shorter))["status"] != "failed"
        await market.node.pass_time(20)
        assert (await market.node.until(shorter, "failed"))["result"] == {"error": "timeout"}
    assert desk.asked["settle"] == 0


async def test_the_same_payment_is_the_same_job_for_ever(market: Market) -> None:
    headers = await market.signed()
    job_id = (await market.post(headers=headers)).job_id
    async with market.worker(Instant(ANSWER)):
        await market.until(job_id, "captured")
    market.node.clock.advance(3 * 86_400)
    for _ in range(2):
        again = await market.post(headers=headers)
        assert (again.job_id, again.headers["Idempotent-Replay"]) == (job_id, "true")
        assert again.body["payment"]["state"] == "captured"
    other = await market.post(body=order("someone else"), headers=headers)
    assert (other.status, other.body["error"]) == (402, "payment_already_used")
    assert await market.spent() == PRICE


async def test_one_payment_from_fifty_connections_is_one_job(market: Market, desk: Desk) -> None:
    headers = await market.signed()
    desk.open.clear()
    asking = [asyncio.create_task(market.post(headers=headers)) for _ in range(50)]
    while not desk.asked["verify"]:
        await asyncio.sleep(0.002)
    desk.open.set()
    answers = await asyncio.gather(*asking)
    assert len({each.job_id for each in answers}) == 1
    assert sum("Idempotent-Replay" in each.headers for each in answers) == 49
    assert desk.asked["verify"] == 1
    assert len(market.rows()) == 1


async def test_a_refused_payment_is_refused_for_all_who_came_with_it(
    market: Market, desk: Desk
) -> None:
    headers = await market.signed()
    desk.verifying = ["insufficient_funds"] * 5
    answers = await asyncio.gather(*(market.post(headers=headers) for _ in range(5)))
    assert {each.status for each in answers} == {402}


async def test_a_fresh_payment_with_the_same_key_is_not_taken(market: Market) -> None:
    key = {"Idempotency-Key": "k"}
    first = await market.post(headers=await market.signed() | key)
    second = await market.signed()
    again = await market.post(headers=second | key)
    assert (again.job_id, again.headers["Idempotent-Replay"]) == (first.job_id, "true")
    assert len(market.rows()) == 1
    assert (await market.post(headers=second)).job_id != first.job_id  # it was not used up
    changed = await market.post(
        body=order(payload=TASK | {"input": "x"}), headers=await market.signed() | key
    )
    assert (changed.status, changed.body["charged"]) == (409, False)


async def test_a_key_is_the_payers_own(market: Market) -> None:
    key = {"Idempotency-Key": "k"}
    first = await market.post(headers=await market.signed() | key)
    assert (await market.post(headers=key)).status == 402
    other = await market.post(headers=await market.signed(BOB) | key)
    assert other.job_id != first.job_id


async def test_settling_goes_on_until_there_is_an_answer(market: Market, desk: Desk) -> None:
    desk.settling = [AWAY, AWAY, AWAY]
    async with market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        for tries, seconds in ((1, 1), (2, 2), (3, 4)):
            await tried(market, job_id, tries)
            await market.until(job_id, "capturing")
            assert (await market.node.job(job_id))["result"] is None
            market.node.clock.advance(seconds - 0.5)
            await asyncio.sleep(0.02)
            assert desk.asked["settle"] == tries
            market.node.clock.advance(1)
        job = await market.until(job_id, "captured")
    assert job["result"] == ANSWER
    assert len(set(desk.settled)) == 1
    assert await market.spent() == PRICE


async def asked(desk: Desk, times: int) -> None:
    """Waits until it has been asked so often to settle."""
    async with asyncio.timeout(5):
        while desk.asked["settle"] < times:
            await asyncio.sleep(0.002)


async def tried(market: Market, job_id: str, times: int) -> None:
    """Waits until it is stored that so many tries to settle came to nothing."""
    async with asyncio.timeout(5):
        while {row["job_id"]: row["tries"] for row in market.rows()}[job_id] < times:
            await asyncio.sleep(0.002)


async def test_an_answer_that_was_lost_charges_nobody_twice(market: Market, desk: Desk) -> None:
    desk.settling = [LOST, NONCE_USED]
    async with market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        await tried(market, job_id, 1)
        market.node.clock.advance(2)
        job = await market.until(job_id, "captured")
    assert (job["status"], job["result"]) == ("completed", ANSWER)
    assert await market.spent() == PRICE


async def test_a_refused_capture_withholds_the_result_for_good(market: Market, desk: Desk) -> None:
    desk.settling = ["insufficient_funds"]
    async with market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        job = await market.node.until(job_id, "failed")
    assert (job["result"], job["receipt"]) == ({"error": "payment_failed"}, None)
    assert job["payment"]["state"] == "failed"
    assert job["payment"]["reason"] == "insufficient_funds"
    (row,) = market.rows()
    assert row["text"] is None
    assert (await market.node.parts.coordinator.get(job_id)).output is None
    assert await market.spent() == 0


async def test_who_did_not_pay_must_pay_first(distrusted: Market, desk: Desk) -> None:
    market = distrusted
    async with market.slow_worker():
        job_id = await market.buy()
    assert (desk.asked["settle"], await market.spent()) == (1, PRICE)
    assert (await market.payment_of(job_id))["state"] == "captured"
    async with market.worker(Instant(ANSWER)):
        assert (await market.node.until(job_id, "completed"))["result"] == ANSWER
        trusted = await market.buy(BOB)
        await market.node.until(trusted, "completed")
    assert (desk.asked["settle"], await market.spent()) == (2, PRICE)


async def test_who_must_pay_first_and_does_not_gets_the_offer(
    distrusted: Market, desk: Desk
) -> None:
    market = distrusted
    headers = await market.signed()
    desk.settling = ["insufficient_funds"]
    async with market.slow_worker():
        refused = await market.post(headers=headers)
    assert (refused.status, refused.body["error"]) == (402, "insufficient_funds")
    assert await market.spent() == 0
    assert [row["state"] for row in market.rows()] == ["failed", "failed"]


async def test_a_first_payment_whose_answer_is_lost_holds_its_job(
    distrusted: Market, desk: Desk
) -> None:
    market = distrusted
    running = Gated(ANSWER)
    async with market.worker(running):
        desk.settling = [LOST]
        job_id = await market.buy()
        job = await market.node.job(job_id)
        assert (job["status"], job["payment"]["state"]) == ("pending", "capturing")
        await asyncio.sleep(0.02)
        assert not running.started.is_set()
        market.node.clock.advance(2)
        running.go.set()
        job = await market.node.until(job_id, "completed")
    assert await market.spent() == PRICE


async def test_nobody_pays_first_for_what_nobody_can_do(distrusted: Market, desk: Desk) -> None:
    headers = await distrusted.signed()
    refused = await distrusted.post(headers=headers)
    assert (refused.status, refused.body["error"]) == (503, "no_eligible_worker")
    assert (refused.body["charged"], "Retry-After" in refused.headers) == (False, True)
    assert desk.asked["settle"] == 0
    async with distrusted.slow_worker():
        assert (await distrusted.post(headers=headers)).status == 201


async def test_a_job_that_was_paid_first_and_fails_is_owed(distrusted: Market) -> None:
    async with distrusted.slow_worker():
        job_id = await distrusted.buy()
    await distrusted.node.pass_time(32)
    job = await distrusted.node.until(job_id, "failed")
    assert job["payment"]["state"] == "refund_due"
    assert job["payment"]["transaction"].startswith("0x")


async def test_captured_payments_let_a_payer_open_more(market: Market) -> None:
    async with market.worker(Instant(ANSWER)):
        for _ in range(3):
            await market.until(await market.buy(), "captured")
    for _ in range(7):
        await market.buy()
    refused = await market.post(headers=await market.signed())
    assert refused.status == 429


async def test_a_restart_drops_keeps_and_settles_again(
    tmp_path: Path, clock: FakeClock, desk: Desk
) -> None:
    async with selling(tmp_path, clock, desk) as market:
        kept = await market.buy()
        async with market.worker(Instant(ANSWER)):
            desk.settling = [LOST]
            await tried(market, kept, 1)
        waits = await market.buy()
        desk.open.clear()
        headers = await market.signed(BOB)
        asking = asyncio.create_task(market.post(headers=headers))
        while desk.asked["verify"] < 3:
            await asyncio.sleep(0.002)
        states = sorted(row["state"] for row in market.rows())
        assert states == ["authorized", "capturing", "verifying"]
        files = ("jobs.sqlite3", "jobs.sqlite3-wal", "jobs-coordinator-key.json")
        leftover = {name: (tmp_path / name).read_bytes() for name in files}
        asking.cancel()
        desk.open.set()
    later = tmp_path / "later"
    later.mkdir()
    for name, content in leftover.items():
        (later / name).write_bytes(content)  # the disk as it was at that moment
        (later / name).chmod(0o600)
    desk.settling = [NONCE_USED]
    async with selling(later, clock, desk) as market:
        job = await market.node.until(kept, "completed")
        assert (job["result"], job["payment"]["state"]) == (ANSWER, "captured")
        assert (await market.payment_of(waits))["state"] == "authorized"
        assert len(market.rows()) == 2
        assert (await market.post(headers=headers)).status == 201


async def test_a_chat_is_streamed_before_and_ended_after_the_capture(
    market: Market, desk: Desk
) -> None:
    executor, path = Scripted(), "/v1/chat/completions"
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    headers = await market.signed(path=path, body=body)
    node = market.node
    async with market.worker(executor):
        executor.pieces.put_nowait("one")
        async with node.http.post(node.url + path, json=body, headers=headers) as reply:
            assert reply.status == 200
            text = ""
            while '"one"' not in text:
                text += (await reply.content.readany()).decode()
            desk.open.clear()
            executor.pieces.put_nowait(TEXT)
            await asked(desk, 1)
            assert "[DONE]" not in text
            assert not reply.content.is_eof()
            desk.open.set()
            text += (await reply.content.read()).decode()
    assert text.endswith("data: [DONE]\n\n")
    assert await market.spent() == 10_000


async def test_a_chat_paid_for_twice_with_one_payment_is_answered_twice(market: Market) -> None:
    body, path = (
        {"messages": [{"role": "user", "content": "Hi"}], "temperature": 1},
        "/v1/chat/completions",
    )
    headers = await market.signed(path=path, body=body)
    async with market.worker(Instant(TEXT)):
        first, again = [await market.post(path, body, headers) for _ in range(2)]
    assert first.status == again.status == 200
    assert first.headers["X-Dispatch-Job-Id"] == again.headers["X-Dispatch-Job-Id"]
    assert "PAYMENT-RESPONSE" in first.headers
    assert await market.spent() == 10_000


async def test_our_far_worker_signs_what_was_paid(market: Market) -> None:
    job_id = await market.buy()
    async with market.worker(Instant(ANSWER)):
        job = await market.until(job_id, "captured")
    assert f"/auth/{ALICE.address.lower()}/" in job["receipt"]["payment_ref"]
