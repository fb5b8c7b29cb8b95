"""A facilitator that is away, broken, slow or lying: nothing is charged twice, or for nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from dispatchd.payment.wallets import development_wallet
from tests.faults.seller import Seller, Selling
from tests.support.crowd import PROMPT, autopilot, health, order
from tests.support.events import read_all
from tests.support.facilitator import Does, Facilitator
from tests.support.foreign import foreign_worker
from tests.support.payer import Answer, Payer, nonce_of

pytestmark = pytest.mark.long

PROMPT_ORDER = order(PROMPT)
CHAT_OUTPUT = '{"text":"Hi","tokens_generated":1,"finish_reason":"stop"}'
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def facilitator() -> Facilitator:
    return Facilitator()


@pytest.fixture
def seller(tmp_path: Path, facilitator: Facilitator) -> Seller:
    return Seller(tmp_path, facilitator)


@pytest.fixture
async def node(seller: Seller, facilitator: Facilitator) -> AsyncIterator[Selling]:
    """A node whose facilitator is there."""
    async with facilitator.there(), seller.running() as node:
        yield node


def assert_away(answer: Answer) -> None:
    """Nobody knows whether the payment is good; it may be sent again."""
    assert (answer.status, answer.body["code"]) == (503, "facilitator_unavailable"), answer
    assert answer.body["charged"] is False
    assert int(answer.headers["Retry-After"]) >= 1
    assert "PAYMENT-REQUIRED" not in answer.headers  # clients would sign again


async def test_down_at_start(seller: Seller, facilitator: Facilitator) -> None:
    async with seller.running() as node:
        async with asyncio.timeout(10):
            while (found := await health(node.http, node.url))["status"] == "ok":
                await asyncio.sleep(0.02)
        assert found["status"] == "degraded"
        assert any("facilitator" in problem for problem in found["problems"])
        payment = await node.payer.signed()
        assert_away(await node.payer.commit(payment))
        assert await node.jobs() == []
        async with facilitator.there(), autopilot(node.http, node.url):
            job_id = (await node.payer.commit(payment)).job_id
            await node.until(job_id, "completed", "captured")
    assert facilitator.moved == [nonce_of(payment)]


async def test_gone_at_verify(seller: Seller, facilitator: Facilitator) -> None:
    async with seller.running() as node:
        async with facilitator.there():
            payment = await node.payer.signed()
        assert_away(await node.payer.commit(payment))
        async with facilitator.there(), autopilot(node.http, node.url):
            job_id = (await node.payer.commit(payment)).job_id
            await node.until(job_id, "completed", "captured")
    assert facilitator.moved == [nonce_of(payment)]


@pytest.mark.parametrize("what", [Does.BREAK, Does.DROP, Does.LIE, Does.HANG], ids=str)
async def test_no_clear_answer_at_verify(
    node: Selling, facilitator: Facilitator, what: Does
) -> None:
    facilitator.verifying = what
    payment = await node.payer.signed()
    assert_away(await node.payer.commit(payment))
    assert await node.jobs() == []
    facilitator.verifying = Does.ANSWER
    job_id = (await node.payer.commit(payment)).job_id
    async with autopilot(node.http, node.url):
        await node.until(job_id, "completed", "captured")
    assert facilitator.moved == [nonce_of(payment)]


async def test_the_same_payment_many_times_while_it_is_verified(
    node: Selling, facilitator: Facilitator
) -> None:
    """All wait for the one verdict, and hear it."""
    facilitator.verifying = Does.HANG
    payment = await node.payer.signed()
    commits = [asyncio.create_task(node.payer.commit(payment)) for _ in range(10)]
    await facilitator.asked(facilitator.verified)
    facilitator.verifying = Does.ANSWER
    facilitator.let_go.set()
    answers = await asyncio.gather(*commits)
    assert len({answer.job_id for answer in answers}) == 1
    assert len(facilitator.verified) == 1


@pytest.mark.parametrize(("what", "status"), [(Does.REFUSE, 402), (Does.BREAK, 503)])
async def test_the_same_bad_payment_many_times_while_it_is_verified(
    node: Selling, facilitator: Facilitator, what: Does, status: int
) -> None:
    facilitator.verifying = Does.HANG
    payment = await node.payer.signed()
    commits = [asyncio.create_task(node.payer.commit(payment)) for _ in range(10)]
    await facilitator.asked(facilitator.verified)
    for _ in range(5):  # by then the others have come too
        await health(node.http, node.url)
    facilitator.verifying = what
    facilitator.let_go.set()
    answers = await asyncio.gather(*commits)
    assert {answer.status for answer in answers} == {status}
    assert len(facilitator.verified) == 1
    facilitator.verifying = Does.ANSWER
    assert (await node.payer.commit(payment)).job_id


async def test_refused_at_verify(node: Selling, facilitator: Facilitator) -> None:
    facilitator.verifying = Does.REFUSE
    payment = await node.payer.signed()
    refused = await node.payer.commit(payment)
    assert (refused.status, refused.body["error"]) == (402, "insufficient_funds")
    assert refused.ended()["errorReason"] == "insufficient_funds"
    assert await node.jobs() == []
    facilitator.verifying = Does.ANSWER  # the payer has got money
    assert (await node.payer.commit(payment)).job_id
    assert facilitator.settled == []


SETTLE = [Does.BREAK, Does.DROP, Does.LIE, Does.MOVE_AND_DROP]


@pytest.mark.parametrize("what", SETTLE, ids=str)
async def test_no_clear_answer_at_settle(
    node: Selling, facilitator: Facilitator, what: Does
) -> None:
    """The job shows that it still runs, and completes once the facilitator has answered.

    Where the money had moved, the answer is that the authorization is used.
    """
    facilitator.settling = what
    async with autopilot(node.http, node.url) as pilot:
        payment = await node.payer.signed()
        job_id = (await node.payer.commit(payment)).job_id
        await facilitator.asked(facilitator.settled)
        found = await node.until(job_id, "running", "capturing")
        assert (found["result"], found["receipt"], found["completed_at"]) == (None, None, None)
        facilitator.settling = Does.ANSWER
        found = await node.until(job_id, "completed", "captured")
        assert found["receipt"]["verified"]
        assert pilot.assigned == [job_id]
    assert facilitator.moved == [nonce_of(payment)]
    assert facilitator.settled == [nonce_of(payment)] * 2


async def test_gone_at_settle(seller: Seller, facilitator: Facilitator) -> None:
    async with seller.running() as node, foreign_worker(node.http, node.url) as worker:
        await worker.register(version="0")
        async with facilitator.there():
            payment = await node.payer.signed()
            job_id = (await node.payer.commit(payment)).job_id
            await worker.expect("job_assign")
        await worker.complete(job_id)
        await node.until(job_id, "running", "capturing")
        async with facilitator.there():
            await node.until(job_id, "completed", "captured")
    assert facilitator.moved == [nonce_of(payment)]


class TestRefusedAtCapture:
    """The payer had the money when it was verified, and has not any more."""

    async def test_the_result_is_withheld(
        self, node: Selling, facilitator: Facilitator, seller: Seller
    ) -> None:
        facilitator.settling = Does.REFUSE
        async with autopilot(node.http, node.url):
            job_id = (await node.payer.buy()).job_id
            found = await node.until(job_id, "failed", "failed")
        assert found["result"] == {"error": "payment_failed"}
        assert found["receipt"] is None
        assert found["payment"]["reason"] == "insufficient_funds"
        async with node.http.get(f"{node.url}/v1/jobs/{job_id}") as reply:
            ended = Answer(reply.status, {}, dict(reply.headers)).ended()
        assert (ended["success"], ended["errorReason"]) == (False, "insufficient_funds")
        async with node.http.get(f"{node.url}/v1/jobs/{job_id}/stream") as reply:
            assert "word_count" not in str(await read_all(reply))
        assert node.process.stop() == 0
        assert seller.rows("SELECT output, receipt FROM jobs") == [(None, None)]
        assert seller.rows("SELECT state, text FROM payments") == [("failed", None)]

    async def test_that_payer_pays_first_from_then_on(
        self, node: Selling, facilitator: Facilitator
    ) -> None:
        facilitator.settling = Does.REFUSE
        async with autopilot(node.http, node.url):
            await node.until((await node.payer.buy()).job_id, "failed", "failed")
        async with foreign_worker(node.http, node.url) as worker:
            await worker.register(version="0")
            payment = await node.payer.signed()
            refused = await node.payer.commit(payment)
            assert (refused.status, refused.body["error"]) == (402, "insufficient_funds")
            assert refused.body["charged"] is False
            assert refused.ended()["success"] is False
            assert "PAYMENT-REQUIRED" in refused.headers

            facilitator.settling = Does.ANSWER
            paid = await node.payer.buy()
            assert paid.body["payment"]["state"] == "captured"
            assert paid.ended()["success"] is True
            assert len(facilitator.moved) == 1
            assert (await worker.expect("job_assign"))["job_id"] == paid.job_id
            await worker.complete(paid.job_id)
            await node.until(paid.job_id, "completed", "captured")

            other = Payer(node.http, node.url, development_wallet(1))
            later = await other.buy()
            assert later.body["payment"]["state"] == "authorized"
        assert len(facilitator.moved) == 1

    async def test_money_that_was_paid_first_for_a_failed_job_is_not_forgotten(
        self, node: Selling, facilitator: Facilitator
    ) -> None:
        facilitator.settling = Does.REFUSE
        async with autopilot(node.http, node.url):
            await node.until((await node.payer.buy()).job_id, "failed", "failed")
        facilitator.settling = Does.ANSWER
        async with foreign_worker(node.http, node.url) as worker:
            await worker.register()
            job_id = (await node.payer.buy()).job_id
            async with node.http.delete(f"{node.url}/v1/jobs/{job_id}") as reply:
                assert (await reply.json())["payment"]["state"] == "refund_due"

    async def test_what_is_charged_is_not_said_to_be_free(
        self, node: Selling, facilitator: Facilitator
    ) -> None:
        """A chat that was paid for first, and whose job fails."""
        facilitator.settling = Does.REFUSE
        async with autopilot(node.http, node.url):
            await node.until((await node.payer.buy()).job_id, "failed", "failed")
        facilitator.settling = Does.ANSWER
        async with foreign_worker(node.http, node.url) as worker:
            await worker.register(version="0")
            payment = await node.payer.signed(PROMPT_ORDER, "fast")
            chat = asyncio.create_task(node.payer.post("/v1/chat/completions", payment, CHAT))
            assigned = await worker.expect("job_assign")
            async with node.http.delete(f"{node.url}/v1/jobs/{assigned['job_id']}") as reply:
                assert (await reply.json())["payment"]["state"] == "refund_due"
            answer = await chat
        assert answer.status == 409
        assert answer.body.get("charged") is not False, answer


@pytest.mark.parametrize("what", [Does.ANSWER, Does.REFUSE], ids=str)
async def test_a_streamed_chat_ends_when_it_is_paid_for(
    node: Selling, facilitator: Facilitator, what: Does
) -> None:
    """Its text is sent before."""
    facilitator.settling = Does.HANG
    payment = await node.payer.signed(PROMPT_ORDER, "fast")
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("LLM_INFER", version="0")
        chats = node.http.post(
            f"{node.url}/v1/chat/completions", json=CHAT | {"stream": True}, headers=payment
        )
        asking = asyncio.ensure_future(chats)
        job_id = (await worker.expect("job_assign"))["job_id"]
        await worker.send(type="job_progress", job_id=job_id, delta="Hi")
        async with await asking as reply:
            text = await until_text(reply, "Hi")
            await worker.complete(job_id, CHAT_OUTPUT)
            await facilitator.asked(facilitator.settled)
            await node.until(job_id, "running", "capturing")
            facilitator.settling = what
            facilitator.let_go.set()
            text += (await reply.content.read()).decode()
    ends = {Does.ANSWER: "[DONE]", Does.REFUSE: "payment_failed"}
    assert [end in text for end in ends.values()] == [end is what for end in ends]
    assert len(facilitator.moved) == (what is Does.ANSWER)


async def until_text(reply: aiohttp.ClientResponse, wanted: str) -> str:
    text = ""
    async with asyncio.timeout(10):
        while wanted not in text:
            text += (await reply.content.readany()).decode()
    assert "[DONE]" not in text
    return text


async def test_a_chat_that_waits_for_its_capture_when_the_node_stops(
    seller: Seller, facilitator: Facilitator
) -> None:
    """Whether it is paid for is not known, and nothing else is said."""
    facilitator.settling = Does.HANG
    async with (
        facilitator.there(),
        seller.running("--grace", "0.3") as node,
        autopilot(node.http, node.url, version="0"),
    ):
        payment = await node.payer.signed(PROMPT_ORDER, "fast")
        chat = asyncio.create_task(node.payer.post("/v1/chat/completions", payment, CHAT))
        await facilitator.asked(facilitator.settled)
        node.process.popen.send_signal(signal.SIGTERM)
        answer = await chat
        assert answer.status == 503
        assert answer.body.get("charged") is not False, answer
        assert await asyncio.to_thread(node.process.popen.wait, 10) == 0
