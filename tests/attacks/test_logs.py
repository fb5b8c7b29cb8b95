"""What goes into the log, however badly things go: no prompts, results, keys or payments."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from dispatchd.core.job import JobType
from dispatchd.core.payment import Offer, Settlement
from dispatchd.payment.payload import PaymentPayload
from tests.selling.buying import ANSWER
from tests.selling.conftest import selling
from tests.selling.desk import Desk
from tests.support.clock import FakeClock
from tests.support.executors import Gated, Instant
from tests.support.foreign import foreign_worker
from tests.support.node import Node
from tests.support.ours import our_worker

PROMPT = "Where the treasure lies: under the old oak"
TASK = {"job_type": "TASK", "task_type": "summarize", "input": PROMPT}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged above debug, tracebacks included."""
    caplog.set_level(logging.INFO)
    return caplog


async def line_of(said: pytest.LogCaptureFixture, job_id: str, beginning: str) -> dict[str, object]:
    """The line about a job that begins so, once it is there."""
    async with asyncio.timeout(10):
        while True:
            for line in said.records:
                if line.getMessage().startswith(beginning) and vars(line)["job_id"] == job_id:
                    return vars(line)
            await asyncio.sleep(0.005)


async def test_an_executor_that_breaks_with_the_prompt_in_its_error(
    node: Node, said: pytest.LogCaptureFixture
) -> None:
    breaking = Gated(ValueError(f"cannot read {PROMPT}"))
    breaking.go.set()
    async with our_worker(node.url, {JobType.TASK: breaking}):
        job_id = await node.commit(TASK)
        line = await line_of(said, job_id, "the executor broke")
    assert line["attempt"] == 1
    assert "ValueError" in said.text
    assert PROMPT not in said.text


async def test_a_worker_that_reports_what_it_was_asked(
    node: Node, said: pytest.LogCaptureFixture
) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        job_id = await node.commit(TASK)
        await worker.expect("job_assign")
        await worker.complete(job_id, json.dumps({"error": f"I will not do: {PROMPT}"}))
        line = await line_of(said, job_id, "failed: ")
    assert line["attempt"] == 1
    assert PROMPT not in said.text


class Breaking(Desk):
    """A facilitator whose errors repeat the payment."""

    async def settle(self, payload: PaymentPayload, offer: Offer) -> Settlement:
        self.settled.append(payload.text)
        raise RuntimeError(payload.text)


async def test_a_payment_whose_settling_breaks(
    tmp_path: Path, clock: FakeClock, said: pytest.LogCaptureFixture
) -> None:
    desk = Breaking()
    async with selling(tmp_path, clock, desk) as market, market.worker(Instant(ANSWER)):
        job_id = await market.buy()
        await market.until(job_id, "capturing")
        await line_of(said, job_id, "settling broke")
    (payment,) = desk.settled
    signature = json.loads(payment)["payload"]["signature"]
    assert signature not in said.text
