"""A paid job is chained when its result is released, and never before."""

import asyncio
import json
from typing import Any

from tests.selling.buying import ANSWER, Market
from tests.selling.desk import AWAY, Desk
from tests.support import auditor
from tests.support.executors import Instant


async def looked_at(market: Market, path: str, status: int = 200) -> str:
    async with market.node.http.get(market.node.url + path) as reply:
        text = await reply.text()
        assert reply.status == status, text
        return text


async def chain(market: Market) -> list[Any]:
    """The ids of the chained jobs; the chain holds."""
    entries = json.loads(await looked_at(market, "/v1/receipts"))["entries"]
    auditor.check_chain(entries, json.loads(await looked_at(market, "/v1/receipts/root")))
    return [entry["job_id"] for entry in entries]


async def test_a_job_is_chained_once_its_money_has_moved(market: Market) -> None:
    async with market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        job = await market.until(job_id, "captured")
    assert await chain(market) == [job_id]
    bundle = auditor.check_bundle(await looked_at(market, f"/v1/receipts/{job_id}"))
    assert bundle["entry"]["completed_at"] == job["completed_at"]
    assert json.loads(bundle["receipt"])["payment_ref"] == job["receipt"]["payment_ref"]


async def test_a_result_that_is_withheld_is_not_chained(market: Market, desk: Desk) -> None:
    desk.settling = [AWAY]
    async with market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        await market.until(job_id, "capturing")
        while desk.settling:
            await market.node.job(job_id)
        withheld = json.loads(await looked_at(market, f"/v1/receipts/{job_id}", 409))
        assert "running" in withheld["error"]
        assert await chain(market) == []
        async with asyncio.timeout(10):
            while (await market.payment_of(job_id))["state"] != "captured":
                market.node.clock.advance(2)
    assert await chain(market) == [job_id]


async def test_a_job_that_was_not_paid_for_is_never_chained(market: Market, desk: Desk) -> None:
    desk.settling = ["insufficient_funds"]
    async with market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        await market.node.until(job_id, "failed")
    assert await chain(market) == []
    await looked_at(market, f"/v1/receipts/{job_id}", 409)


async def test_a_job_that_was_paid_first_is_chained_when_it_has_run(distrusted: Market) -> None:
    async with distrusted.slow_worker():
        job_id = await distrusted.buy()
    assert await chain(distrusted) == []
    async with distrusted.worker(Instant(ANSWER)):
        await distrusted.node.until(job_id, "completed")
    assert await chain(distrusted) == [job_id]
    auditor.check_bundle(await looked_at(distrusted, f"/v1/receipts/{job_id}"))
