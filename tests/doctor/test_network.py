"""What the doctor says of coordinators: away, foreign, ill, of another time, without a worker."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dispatchd.core.job import JobType
from dispatchd.doctor import Finding, coordinator
from dispatchd.doctor.payment import payment
from dispatchd.doctor.ports import port
from dispatchd.doctor.round_trip import at, job
from tests.sdk.foreign_coordinator import foreign_coordinator
from tests.selling.buying import ANSWER
from tests.selling.conftest import selling
from tests.selling.desk import Desk
from tests.support.clock import START, FakeClock
from tests.support.disk import locked
from tests.support.executors import Instant
from tests.support.node import Node
from tests.support.ours import our_worker
from tests.support.process import free_port


async def found(look: Callable[..., Finding], *arguments: object) -> Finding:
    """What a check finds while this loop serves what it asks."""
    return await asyncio.to_thread(look, *arguments)


async def answering(health: object) -> AsyncIterator[str]:
    """The address of what answers every request so."""

    async def answer(_: web.Request) -> web.Response:
        if isinstance(health, str):
            return web.Response(text=health, content_type="text/html")
        return web.json_response(health)

    app = web.Application()
    app.router.add_get("/{anything:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture(params=["<h1>hello</h1>", {"status": "ok", "timestamp": "noon"}, {}], ids=str)
async def stranger(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async for url in answering(request.param):
        yield url


async def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for look in (coordinator.reachable, coordinator.clock):
        finding = await found(look, url)
        assert (finding.state, url in finding.sentence) == ("failure", True)
        assert finding.remedy


async def test_an_address_that_is_none() -> None:
    finding = await found(coordinator.reachable, "ftp://x")
    assert finding.state == "failure"


async def test_what_is_no_coordinator(stranger: str) -> None:
    for look in (coordinator.reachable, coordinator.clock):
        finding = await found(look, stranger)
        assert (finding.state, bool(finding.remedy)) == ("failure", True)


async def test_a_coordinator_that_is_well_and_one_that_is_degraded(
    node: Node, tmp_path: Path
) -> None:
    assert (await found(coordinator.reachable, node.url)).state == "ok"
    node.parts.coordinator.stop()
    finding = await found(coordinator.reachable, node.url)
    assert (finding.state, "shutting down" in finding.sentence) == ("warning", True)


async def test_a_clock_that_is_set_otherwise(node: Node, clock: FakeClock) -> None:
    behind = await found(coordinator.clock, node.url)
    clock.advance(time.time() - START / 1000)
    right = await found(coordinator.clock, node.url)
    clock.advance(20)
    near = await found(coordinator.clock, node.url)
    clock.advance(3600)
    ahead = await found(coordinator.clock, node.url)
    assert [each.state for each in (behind, right, near, ahead)] == [
        *("failure", "ok", "warning", "failure")
    ]
    assert "behind ours" in behind.sentence
    assert "ahead of ours" in ahead.sentence
    assert "timedatectl" in ahead.remedy


async def test_a_port_that_a_node_has(node: Node) -> None:
    finding = await found(port, "127.0.0.1", int(node.url.rpartition(":")[2]))
    assert (finding.state, "eip155:10143" in finding.sentence) == ("ok", True)


async def test_a_job_there_and_back(node: Node) -> None:
    async with our_worker(node.url, {JobType.TASK: Instant(ANSWER)}):
        assert (await found(at, node.url, job)).state == "ok"
        nothing = await found(at, node.url, payment)
    assert (nothing.state, "simulates no payments" in nothing.sentence) == ("ok", True)


async def test_a_job_that_nobody_does(node: Node) -> None:
    finding = asyncio.create_task(found(at, node.url, job))
    while not node.parts.matching.queued:
        await asyncio.sleep(0.005)
    await node.pass_time(31)
    assert "no_eligible_worker" in (await finding).sentence
    assert f"dispatchd worker --coordinator {node.url}" in (await finding).remedy


async def test_a_job_that_fails(node: Node) -> None:
    async with foreign_coordinator(error="internal_error", polls_until_done=1) as other:
        finding = await found(at, other.url, job)
    assert (finding.state, "internal_error" in finding.sentence) == ("failure", True)


async def test_a_receipt_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    async with foreign_coordinator(polls_until_done=1) as other:
        honest = other.receipt
        monkeypatch.setattr(other, "receipt", lambda _: honest("another job"))
        finding = await found(at, other.url, job)
    assert (finding.state, "does not hold" in finding.sentence) == ("failure", True)
    assert "Do not trust" in finding.remedy


async def test_where_keys_are_asked_for(tmp_path: Path, clock: FakeClock) -> None:
    async with foreign_coordinator(refusals=[401] * 9) as other:
        finding = await found(at, other.url, job)
    assert (finding.state, "DISPATCHD_API_KEY" in finding.remedy) == ("warning", True)


async def test_play_money(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk()
    async with selling(tmp_path, clock, desk) as market, market.worker(Instant(ANSWER)):
        url = market.node.url
        unpaid = await found(at, url, job)
        paid = await found(at, url, payment)
        desk.settling = ["insufficient_funds"]
        refused = await found(at, url, payment)
    assert (unpaid.state, "sold" in unpaid.sentence) == ("warning", True)
    assert (paid.state, "capture of 1000" in paid.sentence) == ("ok", True)
    assert (refused.state, "Nothing was charged" in refused.remedy) == ("failure", True)


@pytest.mark.long  # the store is waited for
async def test_a_store_that_cannot_be_written(node: Node, tmp_path: Path) -> None:
    with locked(tmp_path / "jobs.sqlite3"):
        finding = await found(at, node.url, job)
    assert (finding.state, bool(finding.remedy)) == ("failure", True)


async def test_a_capture_that_takes_too_much(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with selling(tmp_path, clock, Desk()) as market, market.worker(Instant(ANSWER)):
        ledger = market.node.store.ledger
        balance = ledger.balance

        async def less(*account: object) -> int:
            return await balance(*account) - 1  # type: ignore[arg-type]

        monkeypatch.setattr(type(ledger), "balance", lambda _, *account: less(*account))
        finding = await found(at, market.node.url, payment)
    assert (finding.state, "1001" in finding.sentence) == ("failure", True)
