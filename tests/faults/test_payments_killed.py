"""Killed in each state of a payment: nobody pays twice, or for what they do not get."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.seller import Seller, Selling
from tests.support.crowd import autopilot
from tests.support.facilitator import Does, Facilitator
from tests.support.foreign import foreign_worker
from tests.support.payer import nonce_of


@pytest.fixture
async def facilitator() -> AsyncIterator[Facilitator]:
    facilitator = Facilitator()
    async with facilitator.there():
        yield facilitator


@pytest.fixture
def seller(tmp_path: Path, facilitator: Facilitator) -> Seller:
    return Seller(tmp_path, facilitator)


async def cut_off(commit: asyncio.Task[Any]) -> None:
    """The client's connection has broken with the node."""
    with suppress(aiohttp.ClientError, OSError):
        await commit
        raise AssertionError("the node has answered")


async def done(node: Selling, job_id: str) -> dict[str, Any]:
    """A job that a worker completes, and that is paid for."""
    async with autopilot(node.http, node.url) as pilot:
        found = await node.until(job_id, "completed", "captured")
        assert pilot.assigned == [job_id]
    assert found["receipt"]["verified"]
    return found


def assert_paid_once(seller: Seller, facilitator: Facilitator, payment: dict[str, str]) -> None:
    assert facilitator.moved == [nonce_of(payment)]
    assert seller.rows("SELECT state, text FROM payments") == [("captured", None)]
    assert seller.rows("SELECT status FROM jobs") == [("completed",)]
    assert seller.rows("SELECT sum(completed) FROM worker_records") == [(1,)]


async def test_while_verifying(seller: Seller, facilitator: Facilitator) -> None:
    """The client has no answer; it may send the same payment again."""
    facilitator.verifying = Does.HANG
    async with seller.running() as node:
        payment = await node.payer.signed()
        commit = asyncio.create_task(node.payer.commit(payment))
        await facilitator.asked(facilitator.verified)
        node.kill()
        await cut_off(commit)
    assert seller.rows("SELECT state FROM payments") == [("verifying",)]
    assert seller.rows("SELECT id FROM jobs") == []
    facilitator.verifying = Does.ANSWER
    async with seller.running() as node:
        assert await node.jobs() == []
        await done(node, (await node.payer.commit(payment)).job_id)
    assert_paid_once(seller, facilitator, payment)


async def test_while_authorized_and_pending(seller: Seller, facilitator: Facilitator) -> None:
    async with seller.running() as node:
        payment = await node.payer.signed()
        job_id = (await node.payer.commit(payment)).job_id
        node.kill()
    async with seller.running() as node:
        await node.until(job_id, "pending", "authorized")
        again = await node.payer.commit(payment)
        assert (again.job_id, again.headers["Idempotent-Replay"]) == (job_id, "true")
        await done(node, job_id)
    assert len(facilitator.verified) == 1
    assert_paid_once(seller, facilitator, payment)


async def test_while_authorized_and_running(seller: Seller, facilitator: Facilitator) -> None:
    async with seller.running() as node, foreign_worker(node.http, node.url) as worker:
        await worker.register(version="0")
        payment = await node.payer.signed()
        job_id = (await node.payer.commit(payment)).job_id
        assert (await worker.expect("job_assign"))["job_id"] == job_id
        await node.until(job_id, "assigned", "authorized")
        node.kill()
    async with seller.running() as node:
        assert facilitator.settled == []
        await done(node, job_id)
    assert_paid_once(seller, facilitator, payment)


async def capturing(node: Selling, facilitator: Facilitator) -> tuple[dict[str, str], str]:
    """A job that has run, and whose payment is being captured: its result is withheld."""
    async with autopilot(node.http, node.url):
        payment = await node.payer.signed()
        job_id = (await node.payer.commit(payment)).job_id
        await facilitator.asked(facilitator.settled)
        found = await node.until(job_id, "running", "capturing")
    assert (found["result"], found["receipt"]) == (None, None)
    return payment, job_id


async def test_while_capturing_before_the_money_has_moved(
    seller: Seller, facilitator: Facilitator
) -> None:
    facilitator.settling = Does.HANG
    async with seller.running() as node:
        payment, job_id = await capturing(node, facilitator)
        node.kill()
    facilitator.settling = Does.ANSWER
    async with seller.running() as node:
        found = await node.until(job_id, "completed", "captured")
    assert found["payment"]["transaction"] == nonce_of(payment)
    assert_paid_once(seller, facilitator, payment)


async def test_while_capturing_after_the_money_has_moved(
    seller: Seller, facilitator: Facilitator
) -> None:
    """Asked again, the facilitator says that the authorization is used: by us."""
    facilitator.settling = Does.MOVE_AND_HANG
    async with seller.running() as node:
        payment, job_id = await capturing(node, facilitator)
        node.kill()
    facilitator.settling = Does.ANSWER
    async with seller.running() as node:
        found = await node.until(job_id, "completed", "captured")
        assert found["result"]["summary"]
        assert len(facilitator.settled) == 2
    assert_paid_once(seller, facilitator, payment)


async def test_while_capturing_at_commit(seller: Seller, facilitator: Facilitator) -> None:
    """The job of a payer whose capture was refused before; it has not begun."""
    facilitator.settling = Does.REFUSE
    async with seller.running() as node, autopilot(node.http, node.url):
        await node.until((await node.payer.buy()).job_id, "failed", "failed")
    facilitator.settling = Does.MOVE_AND_HANG
    async with seller.running() as node, autopilot(node.http, node.url) as pilot:
        payment = await node.payer.signed()
        commit = asyncio.create_task(node.payer.commit(payment))
        await facilitator.asked(facilitator.settled, 2)
        node.kill()
        await cut_off(commit)
        assert pilot.assigned == []
    facilitator.settling = Does.ANSWER
    async with seller.running() as node:
        job_id = (await node.payer.commit(payment)).job_id
        await done(node, job_id)
    assert facilitator.moved == [nonce_of(payment)]


async def test_a_failed_job_is_never_paid_for(seller: Seller, facilitator: Facilitator) -> None:
    failing = ("--limit", "faults_max=1")
    async with seller.running(*failing) as node, foreign_worker(node.http, node.url) as worker:
        payment = await node.payer.signed()
        cancelled = (await node.payer.commit(payment)).job_id
        async with node.http.delete(f"{node.url}/v1/jobs/{cancelled}") as reply:
            assert (await reply.json())["payment"]["state"] == "released"
        await worker.register(version="0")
        failed = (await node.payer.buy()).job_id
        await worker.expect("job_assign")
        await worker.complete(failed, '{"error":"broken"}')
        found = await node.until(failed, "failed", "released")
        assert found["payment"]["transaction"] is None
        node.kill()
    assert seller.rows("SELECT state, text FROM payments") == [("released", None)] * 2
    async with seller.running() as node:
        again = await node.payer.commit(payment)
        assert (again.job_id, again.body["payment"]["state"]) == (cancelled, "released")
        await done(node, (await node.payer.buy()).job_id)
    assert len(facilitator.moved) == 1


async def test_stopped_while_capturing(seller: Seller, facilitator: Facilitator) -> None:
    """A capture that is under way may come to its end."""
    facilitator.settling = Does.HANG
    async with seller.running() as node:
        payment, job_id = await capturing(node, facilitator)
        node.process.popen.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            while (await node.payer.commit()).status != 503:
                await asyncio.sleep(0.02)
        facilitator.settling = Does.ANSWER
        facilitator.let_go.set()
        assert await asyncio.to_thread(node.process.popen.wait, 10) == 0
    assert len(facilitator.settled) == 1
    assert seller.rows("SELECT id, status FROM jobs") == [(job_id, "completed")]
    assert_paid_once(seller, facilitator, payment)


async def test_stopped_while_a_capture_does_not_end(
    seller: Seller, facilitator: Facilitator
) -> None:
    facilitator.settling = Does.HANG
    async with seller.running("--grace", "0.3") as node:
        payment, job_id = await capturing(node, facilitator)
        assert await asyncio.to_thread(node.process.stop) == 0
    facilitator.settling = Does.ANSWER
    async with seller.running() as node:
        await node.until(job_id, "completed", "captured")
    assert_paid_once(seller, facilitator, payment)
