"""`/metrics`: what it counts, as Prometheus' own parser reads it, and what it never tells."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)

from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import JobType, Tier
from dispatchd.core.network import MONAD
from dispatchd.core.payment import PaymentState
from dispatchd.core.record import Blame
from dispatchd.core.standing import Standing
from dispatchd.metrics.jobs import OUTCOMES, REASONS, VERDICTS
from dispatchd.metrics.lag import watch_lag
from dispatchd.metrics.metrics import Metrics
from dispatchd.metrics.state import WORKER_STATES
from tests.e2e.client import LLM, Client
from tests.e2e.client import TASK as CLASSIFY
from tests.metrics.reading import Scrape, read, scrape
from tests.selling.buying import ANSWER, BOB, Market
from tests.selling.conftest import selling
from tests.selling.desk import Desk
from tests.support.clock import FakeClock
from tests.support.executors import Instant
from tests.support.foreign import foreign_worker
from tests.support.machines import Machines
from tests.support.node import Node

TASK: dict[str, Any] = {"job_type": "TASK", "task_type": "summarize", "input": "The old mill."}
CHEAP_TASK = {"job_type": "TASK", "tier": "CHEAP"}
ODD = 'odd"}\n# HELP evil 1\nuser{x="'
HOST = frozenset({MONAD.caip2})
KINDS = frozenset({*JobType, *Tier, *OUTCOMES, *REASONS, *VERDICTS, *WORKER_STATES, *PaymentState})
TOKENS = frozenset({"prompt", "completion"})
VERSION = re.compile(r"(onnxruntime )?\d+(\.\w+)+")


def open_words(found: Scrape) -> set[str]:
    """The label values that are no words of ours."""
    return {
        value
        for value in found.label_values - HOST - KINDS - TOKENS
        if not VERSION.fullmatch(value)
    }


async def test_a_node_that_has_done_nothing_shows_its_series_at_nought(node: Node) -> None:
    found = await scrape(node)
    for outcome in OUTCOMES:
        assert found.value("dispatchd_jobs_ended_total", **CHEAP_TASK, outcome=outcome) == 0
    assert found.value("dispatchd_queue_jobs") == 0
    assert found.value("dispatchd_llm_tokens_total", kind="prompt") == 0
    assert found.value("dispatchd_build_info") == 1
    assert found.value("dispatchd_process_start_time_seconds") > 0
    assert not found.named("dispatchd_payments")
    assert open_words(found) == set()


async def test_a_job_from_commit_to_receipt(node: Node, clock: FakeClock) -> None:
    job_id = await node.commit(TASK)
    found = await scrape(node)
    assert found.value("dispatchd_jobs_committed_total", **CHEAP_TASK) == 1
    assert found.value("dispatchd_queue_jobs") == 1
    clock.advance(7)
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK", max_concurrent_jobs=2)
        await worker.expect("job_assign")
        found = await scrape(node)
        assert found.value("dispatchd_queue_jobs") == 0
        assert found.value("dispatchd_running_jobs", job_type="TASK") == 1
        assert found.value("dispatchd_workers", state="busy") == 1
        assert found.value("dispatchd_job_wait_seconds_sum", **CHEAP_TASK) == 7
        clock.advance(2.5)
        await worker.complete(job_id)
        await node.until(job_id, "completed")
        found = await scrape(node)
    assert found.value("dispatchd_job_run_seconds_sum", **CHEAP_TASK) == 2.5
    assert found.value("dispatchd_jobs_ended_total", **CHEAP_TASK, outcome="completed") == 1
    assert found.value("dispatchd_attempts_total", job_type="TASK", reason="completed") == 1
    assert found.value("dispatchd_receipts_total", verdict="valid") == 1
    assert found.value("dispatchd_workers", state="idle") == 1
    assert found.value("dispatchd_running_jobs", job_type="TASK") == 0


async def test_what_people_wrote_is_in_no_label(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK", models=[ODD], version=ODD)
        odd = {**TASK, "input": ODD, ODD: ODD}
        job_id = await node.commit(odd, user_id=ODD.replace("\n", " "))
        await worker.expect("job_assign")
        await worker.complete(job_id, '{"error":"odd words \\"}\\n","final":true}')
        await node.until(job_id, "failed")
        found = await scrape(node)
    assert open_words(found) == set()
    assert found.value("dispatchd_jobs_ended_total", **CHEAP_TASK, outcome="failed") == 1


async def test_a_worker_that_is_lost(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        job_id = await node.commit(TASK)
        await worker.expect("job_assign")
    await node.until(job_id, "pending")
    found = await scrape(node)
    assert found.value("dispatchd_attempts_total", job_type="TASK", reason=Blame.LOST) == 1
    assert found.value("dispatchd_workers", state="idle") == 0
    assert found.value("dispatchd_queue_jobs") == 1


async def test_an_attempt_whose_end_is_stored_late_is_counted_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back, tries = node.store.jobs.put_back, 0

    async def away_at_first(*what: Any) -> Standing | None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreUnavailable("disk full")
        return await put_back(*what)

    monkeypatch.setattr(node.store.jobs, "put_back", away_at_first)
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        await node.commit(TASK)
        await worker.expect("job_assign")
    while tries < 3:
        with contextlib.suppress(StoreUnavailable):
            await node.pass_time(1)
    found = await scrape(node)
    ended = [found.value("dispatchd_attempts_total", job_type="TASK", reason=b) for b in Blame]
    assert sum(ended) == 1


async def test_a_receipt_that_does_not_hold(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        job_id = await node.commit(TASK)
        await worker.expect("job_assign")
        await worker.socket.send_str(worker.completion(job_id, "{}", provider_pubkey="a" * 64))
        await node.until(job_id, "pending")
        found = await scrape(node)
    assert found.value("dispatchd_receipts_total", verdict="invalid") == 1
    reason = Blame.BAD_RECEIPTS
    assert found.value("dispatchd_attempts_total", job_type="TASK", reason=reason) == 1


async def test_a_job_that_is_cancelled_as_it_runs(node: Node) -> None:
    async with foreign_worker(node.http, node.url) as worker:
        await worker.register("TASK")
        job_id = await node.commit(TASK)
        await worker.expect("job_assign")
        async with node.http.delete(f"{node.url}/v1/jobs/{job_id}") as reply:
            assert reply.status == 200
        found = await scrape(node)
    assert found.value("dispatchd_attempts_total", job_type="TASK", reason="cancelled") == 1
    assert found.value("dispatchd_jobs_ended_total", **CHEAP_TASK, outcome="cancelled") == 1


async def test_jobs_that_nobody_can_do(node: Node) -> None:
    await node.commit(TASK)
    watched = await node.commit(TASK, tier=Tier.FAST)
    with node.parts.feed.watching(watched):
        await node.pass_time(31)
    url, private = f"{node.url}/v1/jobs/commit/cheap", {"privacy_class": "PRIVATE"}
    body = {"job_type": "TASK", "user_id": "ann", "payload": TASK} | private
    async with node.http.post(url, json=body) as reply:
        assert reply.status == 422
    found = await scrape(node)
    nobody = "no_eligible_worker"
    assert found.value("dispatchd_jobs_ended_total", **CHEAP_TASK, outcome=nobody) == 1
    assert (
        found.value("dispatchd_jobs_ended_total", job_type="TASK", tier="FAST", outcome=nobody) == 1
    )
    untrusted = "no_trusted_worker"
    assert found.value("dispatchd_jobs_ended_total", **CHEAP_TASK, outcome=untrusted) == 1
    assert found.value("dispatchd_queue_jobs") == 0


async def test_openmetrics_where_it_is_asked_for(node: Node) -> None:
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with node.http.get(f"{node.url}/metrics", headers=headers) as reply:
        assert reply.content_type == "application/openmetrics-text"
        text = await reply.text()
    families = read_openmetrics(text)  # type: ignore[no-untyped-call] # it lacks an annotation
    assert "dispatchd_jobs_ended" in {family.name for family in families}


async def test_writes_that_share_a_flush(node: Node) -> None:
    before = (await scrape(node)).value("dispatchd_store_group_writes_sum")
    await node.commit(TASK)
    found = await scrape(node)
    assert found.value("dispatchd_store_group_writes_sum") == before + 1
    assert found.value("dispatchd_store_group_seconds_count") >= 1


async def test_payments_by_state(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk()
    async with selling(tmp_path, clock, desk) as market:
        await buy_three(market, desk)
        found = await scrape(market.node)
    states = {state: found.value("dispatchd_payments", state=state) for state in PaymentState}
    assert {state: count for state, count in states.items() if count} == {
        PaymentState.CAPTURED: 1,
        PaymentState.FAILED: 1,
        PaymentState.AUTHORIZED: 1,
    }
    ended = [each for each in found.named("dispatchd_jobs_ended_total") if each.value]
    assert {each.labels["outcome"]: each.value for each in ended} == {
        "completed": 1,
        "payment_failed": 1,
    }
    assert open_words(found) == set()


async def buy_three(market: Market, desk: Desk) -> None:
    """One that is captured, one that is refused, and one for which nobody is there."""
    async with market.worker(Instant(ANSWER)):
        await market.node.until(await market.buy(), "completed")
        desk.settling = ["insufficient_funds"]
        await market.node.until(await market.buy(), "failed")
    await market.until(await market.buy(BOB), PaymentState.AUTHORIZED)


def test_a_nodes_own_engine_and_loop(tmp_path: Path) -> None:
    with Machines(tmp_path).run("--network", "monad", "--network", "solana") as node:
        client = Client(node.url())
        for payload in (LLM, CLASSIFY):
            client.until(client.commit(payload), "completed")
        job = client.until(client.commit(LLM), "completed")
        status, text = client.text("GET", "/metrics")
        assert status == 200
    found = read(text)
    made = found.value("dispatchd_llm_tokens_total", kind="completion")
    assert made == 2 * job["result"]["completion_tokens"]
    assert found.value("dispatchd_llm_time_to_first_token_seconds_count") == 2
    assert 0 < found.value("dispatchd_llm_time_between_tokens_seconds_count") < made
    assert found.value("dispatchd_llm_batch_sequences_sum") == made - 2  # the prompts gave a token
    (build,) = found.named("dispatchd_build_info")
    assert build.labels["runtime"].startswith("onnxruntime ")
    networks = {each.labels["network"] for each in found.named("dispatchd_queue_jobs")}
    assert len(networks) == 2


async def test_the_lag_is_how_much_later_than_asked_the_loop_wakes() -> None:
    times: Iterator[float] = iter([10.0, 10.5, 20.0, 20.75, 30.0])
    asked: list[float] = []
    told: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 3:
            raise EOFError

    with pytest.raises(EOFError):
        await watch_lag(told.append, lambda: next(times), sleep)
    assert told == [0.0, 0.25]


async def test_two_nodes_of_one_process_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.engine.generated(3, 4)
    _, text = await other.text("")
    assert read(text.decode()).value("dispatchd_llm_tokens_total", kind="prompt") == 0
