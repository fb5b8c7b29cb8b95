"""Posing as a worker, through real sockets: before, during and after its own connection."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from nacl.signing import SigningKey

from dispatchd.core.errors import StoreUnavailable
from tests.support.alive import beat, live
from tests.support.clock import FakeClock
from tests.support.crowd import SUMMARIZE, connected
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.keyholders import (
    OURS,
    as_time_passes,
    card,
    commit_private,
    pair,
    posing_as,
    unpair,
)
from tests.support.node import Node, running_node
from tests.support.raw import UPGRADE, frame, raw

PROMPT_ONLY = ("LLM_INFER",)
Newcomer = dict[str, Any]
NEWCOMERS = pytest.mark.parametrize("fields", [{}, OURS], ids=["part 1", "ours"])


@pytest.fixture
async def worker(node: Node) -> AsyncIterator[ForeignWorker]:
    """A worker of part 1 that does TASK jobs."""
    async with connected(node) as worker:
        await worker.register("TASK")
        yield worker


@pytest.fixture
async def proven(node: Node) -> AsyncIterator[ForeignWorker]:
    """A worker that has proven its key, and whom alice trusts."""
    async with connected(node) as worker:
        await worker.prove(await worker.register("TASK", **OURS))
        await beat(worker)
        await pair(node, "alice", worker.pubkey)
        yield worker


@asynccontextmanager
async def impostor(node: Node, pubkey: str) -> AsyncIterator[ForeignWorker]:
    async with connected(node) as worker:
        yield posing_as(pubkey, worker)


def bare_connection(
    node: Node, key: SigningKey | None = None
) -> AbstractAsyncContextManager[ForeignWorker]:
    """A worker that does not answer pings."""
    return foreign_worker(node.http, node.url, key, autoping=False)


async def kinds_until_closed(worker: ForeignWorker) -> list[str]:
    """What a worker is sent until its connection ends, by type; jobs by their privacy."""
    kinds = []
    async with asyncio.timeout(10):
        async for message in worker.socket:
            frame = message.json()
            kinds.append(frame.get("privacy_class") or frame.get("code") or frame["type"])
    return kinds


# A worker that holds its key


async def test_a_proof_opens_the_way_to_private_jobs(node: Node) -> None:
    async with connected(node) as worker:
        ack = await worker.register("TASK", **OURS)
        await pair(node, "alice", worker.pubkey)
        assert not (await card(node, worker.pubkey))["proven"]
        await worker.prove(ack)
        assert (await commit_private(node))[0] == 201
        assert (await worker.expect("job_assign"))["privacy_class"] == "PRIVATE"
        assert (await card(node, worker.pubkey))["proven"]


@pytest.mark.parametrize("paired_first", [True, False])
async def test_a_worker_of_part_1_comes_to_a_private_job(node: Node, paired_first: bool) -> None:
    async with connected(node) as worker:
        if paired_first:
            await pair(node, "alice", worker.pubkey)
            await worker.register("TASK")
        else:
            await worker.register("TASK")
            await pair(node, "alice", worker.pubkey)
        committing = asyncio.create_task(commit_private(node))
        await worker.pass_canary()
        status, made = await committing
        assert status == 201
        assert (await worker.expect("job_assign"))["job_id"] == made["job_id"]
        await worker.complete(made["job_id"])
        assert (await node.until(made["job_id"], "completed"))["receipt"]
        assert (await card(node, worker.pubkey))["record"]["completed"] == 1


async def test_a_receipt_for_anybodys_job_is_a_proof(node: Node, worker: ForeignWorker) -> None:
    job_id = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    await worker.complete(job_id)
    await node.until(job_id, "completed")
    await pair(node, "alice", worker.pubkey)
    assert (await commit_private(node))[0] == 201
    assert (await worker.expect("job_assign"))["privacy_class"] == "PRIVATE"


def counted(shown: dict[str, Any]) -> dict[str, int]:
    """What a worker's record holds."""
    return {name: count for name, count in shown["record"].items() if count}


async def until_counted(node: Node, pubkey: str) -> dict[str, Any]:
    """What a worker's record holds, once it holds anything."""
    async with asyncio.timeout(10):
        while not (found := counted(await card(node, pubkey))):
            await asyncio.sleep(0.005)
    return found


async def test_the_signature_counts_and_not_the_answer(node: Node, worker: ForeignWorker) -> None:
    await pair(node, "alice", worker.pubkey)
    canary = await worker.expect("job_assign")
    await worker.complete(canary["job_id"], '{"error":"I cannot count"}')
    await beat(worker)
    assert (await commit_private(node))[0] == 201
    assert await until_counted(node, worker.pubkey) == {"canaries_failed": 1}


async def test_a_canary_that_cannot_be_counted_is_a_proof_all_the_same(
    node: Node, worker: ForeignWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(node.store.records, "note_canary", away)
    await pair(node, "alice", worker.pubkey)
    await worker.pass_canary()
    assert await beat(worker) == []
    node.clock.advance(1)
    assert await beat(worker) == []
    assert (await card(node, worker.pubkey))["proven"]


async def test_a_worker_without_task_writes_a_few_tokens(node: Node) -> None:
    async with connected(node) as worker:
        await worker.register(*PROMPT_ONLY)
        await pair(node, "alice", worker.pubkey)
        canary = await worker.expect("job_assign")
        assert (canary["job_type"], canary["payload"]["max_tokens"]) == ("LLM_INFER", 8)
        await worker.complete(canary["job_id"], '{"text":"Well,"}')
        await beat(worker)
        assert (await card(node, worker.pubkey))["proven"]


# Canaries


async def test_nobody_else_ever_sees_a_canary(
    node: Node, worker: ForeignWorker, tmp_path: Path
) -> None:
    async with node.http.get(f"{node.url}/v1/health") as reply:
        before = await reply.json()
    await pair(node, "alice", worker.pubkey)
    canary = await worker.expect("job_assign")
    assert (canary["privacy_class"], canary["job_type"]) == ("PUBLIC", "TASK")
    for answered in range(2):
        for path in ("", "?wait=0", "/events", "/explain"):
            async with node.http.get(f"{node.url}/v1/jobs/{canary['job_id']}{path}") as reply:
                assert reply.status == 404
        async with node.http.get(f"{node.url}/v1/receipts/{canary['job_id']}") as reply:
            assert reply.status == 404
        async with node.http.delete(f"{node.url}/v1/jobs/{canary['job_id']}") as reply:
            assert reply.status == 404
        for path in ("/v1/jobs", f"/v1/jobs?user_id={canary['user_id']}", "/v1/receipts"):
            async with node.http.get(node.url + path) as reply:
                assert canary["job_id"] not in await reply.text()
        async with node.http.get(f"{node.url}/v1/health") as reply:
            assert await reply.json() == before
        shown = await card(node, worker.pubkey)
        assert shown["active_jobs"] == 0
        assert counted(shown) == ({"canaries_failed": 1} if answered else {})
        await worker.complete(canary["job_id"], '{"summary":"","word_count":-1}')
        await beat(worker)
        assert await until_counted(node, worker.pubkey) == {"canaries_failed": 1}
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as db:
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


async def test_a_canary_comes_only_where_somebody_needs_the_proof(
    node: Node, worker: ForeignWorker, proven: ForeignWorker
) -> None:
    assert await live(node, 20, worker, proven) == []
    await pair(node, "alice", worker.pubkey)
    canary = await worker.expect("job_assign")
    await unpair(node, "alice", worker.pubkey)
    await worker.send(type="job_reject", job_id=canary["job_id"], reason="no")
    assert await live(node, 200, worker, proven) == []


async def test_a_canary_that_nobody_needs_any_more_is_not_given(
    node: Node, worker: ForeignWorker
) -> None:
    running = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    await pair(node, "alice", worker.pubkey)
    await unpair(node, "alice", worker.pubkey)
    await worker.send(type="job_reject", job_id=running, reason="no")
    assert await beat(worker) == []
    await pair(node, "alice", worker.pubkey)
    assert await worker.pass_canary() != running


async def test_an_unanswered_canary_is_given_up_and_tried_again_later(
    node: Node, worker: ForeignWorker
) -> None:
    await pair(node, "alice", worker.pubkey)
    first = await worker.expect("job_assign")
    frames = await live(node, 60, worker)
    assert [frame["type"] for frame in frames] == ["job_cancel"]
    assert await live(node, 50, worker) == []
    assert (await commit_private(node))[0] == 422
    await worker.send(type="job_reject", job_id=first["job_id"], reason="late")
    frames = await live(node, 30, worker)
    (again,) = (frame for frame in frames if frame["type"] == "job_assign")
    assert again["job_id"] != first["job_id"]


async def test_a_canary_takes_a_place_like_any_job(node: Node, worker: ForeignWorker) -> None:
    await pair(node, "alice", worker.pubkey)
    canary = await worker.expect("job_assign")
    waiting = await node.commit(SUMMARIZE)
    assert await beat(worker) == []
    await worker.complete(canary["job_id"])
    assert (await worker.expect("job_assign"))["job_id"] == waiting


async def test_a_private_job_is_queued_behind_the_canary_of_a_busy_worker(
    node: Node, worker: ForeignWorker
) -> None:
    running = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    await pair(node, "alice", worker.pubkey)
    status, made = await as_time_passes(node, commit_private(node), 3)
    assert status == 201
    async with node.http.get(f"{node.url}/v1/jobs/{made['job_id']}/explain") as reply:
        assert (await reply.json())["workers"][0]["excluded_by"] == "key_not_proven"
    assert await live(node, 50, worker) == []  # longer than a job waits for a worker to come
    await worker.send(type="job_reject", job_id=running, reason="no")
    assert await worker.pass_canary() not in {running, made["job_id"]}
    assert (await worker.expect("job_assign"))["job_id"] == made["job_id"]


async def test_an_idle_worker_that_gives_no_proof_gets_no_private_job(
    node: Node, worker: ForeignWorker
) -> None:
    await pair(node, "alice", worker.pubkey)
    await worker.expect("job_assign")
    before = node.clock.now()
    status, refused = await as_time_passes(node, commit_private(node), 3)
    assert (status, refused["error"]) == (422, "no_trusted_worker")
    assert node.clock.now() - before >= 2000
    assert await beat(worker) == []


# Posing as somebody else


@NEWCOMERS
async def test_posing_as_a_paired_worker_before_it_comes(node: Node, fields: Newcomer) -> None:
    key = SigningKey.generate()
    pubkey = bytes(key.verify_key).hex()
    await pair(node, "alice", pubkey)
    async with impostor(node, pubkey) as thief:
        await thief.register("TASK", **fields)
        canary = await as_time_passes(node, thief.receive(), 6)
        assert canary["privacy_class"] == "PUBLIC"
        await thief.complete(canary["job_id"])
        assert (await thief.expect("error"))["code"] == "BAD_RECEIPT"
        assert (await commit_private(node))[0] == 422
        async with connected(node, key) as worker:
            await worker.prove(await worker.register("TASK", **OURS))
            assert await kinds_until_closed(thief) == []
            assert (await commit_private(node))[0] == 201
            assert (await worker.expect("job_assign"))["privacy_class"] == "PRIVATE"
            assert set((await card(node, pubkey))["record"].values()) == {0}


@NEWCOMERS
async def test_posing_as_a_paired_worker_while_it_works(
    node: Node, proven: ForeignWorker, fields: Newcomer
) -> None:
    _, made = await commit_private(node)
    await proven.expect("job_assign")
    async with impostor(node, proven.pubkey) as thief:
        registering = asyncio.create_task(
            thief.register("TASK", active_jobs=[made["job_id"]], **fields)
        )
        beating = asyncio.create_task(proven.receive())  # which answers the ping
        if fields:
            await registering
            await thief.complete(made["job_id"])
            assert (await thief.expect("error"))["code"] == "LEASE_LOST"
            refused = await as_time_passes(node, kinds_until_closed(thief), 12)
            assert refused == ["KEY_IN_USE"]
        else:
            ack = await registering
            assert (ack["status"], "another connection" in ack["error"]) == ("error", True)
            await thief.send(type="heartbeat")
            assert (await thief.expect("error"))["code"] == "NOT_REGISTERED"
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
    await proven.complete(made["job_id"])
    done = await node.until(made["job_id"], "completed")
    assert done["receipt"]["provider_pubkey"] == proven.pubkey
    assert (await card(node, proven.pubkey))["record"]["completed"] == 1


@NEWCOMERS
async def test_posing_as_a_paired_worker_after_it_has_left(
    node: Node, proven: ForeignWorker, fields: Newcomer
) -> None:
    await proven.socket.close()
    async with impostor(node, proven.pubkey) as thief:
        await thief.register("TASK", **fields)
        assert (await as_time_passes(node, commit_private(node), 8))[0] == 422
        frames = await live(node, 20, thief, step=1)
        assert all(frame["privacy_class"] == "PUBLIC" for frame in frames)


async def test_a_newcomer_gets_no_job_while_the_old_connection_may_live(
    node: Node, proven: ForeignWorker
) -> None:
    async with impostor(node, proven.pubkey) as thief:
        await thief.register("TASK", **OURS)
        job_id = await node.commit(SUMMARIZE)
        assert (await proven.expect("job_assign"))["job_id"] == job_id
        await node.commit(SUMMARIZE)
        assert await beat(thief) == []
        async with connected(node) as other:
            await other.register("TASK")
            await other.expect("job_assign")


async def test_nobody_takes_the_place_of_a_worker_that_is_only_slow(
    node: Node, proven: ForeignWorker
) -> None:
    """Any frame is a sign of life, so that a busy worker need not answer the ping at once."""
    async with impostor(node, proven.pubkey) as thief:
        registering = asyncio.create_task(thief.register("TASK"))
        while not registering.done():
            await beat(proven)
            await asyncio.sleep(0.002)
        assert registering.result()["status"] == "error"
    assert (await card(node, proven.pubkey))["proven"]


@NEWCOMERS
async def test_the_place_of_a_connection_that_is_dead_is_free_after_5_seconds(
    node: Node, fields: Newcomer
) -> None:
    async with bare_connection(node) as old:
        await old.prove(await old.register("TASK", **OURS))
        job_id = await node.commit(SUMMARIZE)
        await old.expect("job_assign")
        async with connected(node, old.key) as newcomer:
            ack = await as_time_passes(node, newcomer.register("TASK", **fields), 6)
            assert ack["status"] == "ok"
            again = await as_time_passes(node, newcomer.receive(), 6)
            assert (again["type"], again["job_id"]) == ("job_assign", job_id)
            types = [message.type async for message in old.socket]
            assert aiohttp.WSMsgType.PING in types  # the rest was only the goodbye
            assert not (await card(node, old.pubkey))["proven"]


async def test_newcomers_one_after_the_other_do_not_keep_a_dead_connection_alive(
    node: Node,
) -> None:
    async with AsyncExitStack() as newcomers, bare_connection(node) as old:
        await old.prove(await old.register("TASK", **OURS))
        await node.commit(SUMMARIZE)
        await old.expect("job_assign")
        for _ in range(3):
            last = await newcomers.enter_async_context(impostor(node, old.pubkey))
            await last.register("TASK", **OURS)
            assert await beat(last) == []
            node.clock.advance(2)
        assert (await last.expect("job_assign"))["privacy_class"] == "PUBLIC"


async def test_a_newcomer_that_proves_takes_place_and_leases_at_once(
    node: Node, proven: ForeignWorker
) -> None:
    _, made = await commit_private(node)
    await proven.expect("job_assign")
    async with connected(node, proven.key) as newcomer:
        ack = await newcomer.register("TASK", active_jobs=[made["job_id"]], **OURS)
        assert ack["resumed"] == [made["job_id"]]
        await newcomer.prove(ack)
        await proven.closed()
        await newcomer.complete(made["job_id"])
        await node.until(made["job_id"], "completed")


async def test_what_a_worker_was_told_wrongly_to_keep_is_taken_back(
    node: Node, proven: ForeignWorker
) -> None:
    job_id = await node.commit(SUMMARIZE)
    await proven.expect("job_assign")
    async with connected(node, proven.key) as newcomer:
        ack = await newcomer.register("TASK", active_jobs=[job_id], **OURS)
        assert ack["resumed"] == [job_id]
        await proven.complete(job_id)
        await node.until(job_id, "completed")
        await newcomer.prove(ack)
        assert await newcomer.expect("job_cancel") == {"type": "job_cancel", "job_id": job_id}


async def test_of_two_newcomers_the_later_one_waits(node: Node, proven: ForeignWorker) -> None:
    async with impostor(node, proven.pubkey) as first, impostor(node, proven.pubkey) as second:
        await first.register("TASK", **OURS)
        await second.register("TASK", **OURS)
        assert (await kinds_until_closed(first))[-1:] in ([], ["KEY_IN_USE"])
        assert await beat(second) == []
    assert (await card(node, proven.pubkey))["proven"]


async def test_an_impostor_does_not_take_up_leases_after_a_restart(
    tmp_path: Path, clock: FakeClock
) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running_node(database, clock) as node, connected(node) as worker:
        await worker.prove(await worker.register("TASK", **OURS))
        job_id = await node.commit(SUMMARIZE)
        await worker.expect("job_assign")
        node.crash()
    async with running_node(database, clock) as node, impostor(node, worker.pubkey) as thief:
        ack = await thief.register("TASK", active_jobs=[job_id], **OURS)
        await thief.complete(job_id)
        assert (await thief.expect("error"))["code"] == "LEASE_LOST"
        async with connected(node, worker.key) as back:
            ack = await back.register("TASK", active_jobs=[job_id], **OURS)
            await back.prove(ack)
            await back.complete(job_id)
            done = await node.until(job_id, "completed")
            record = (await card(node, worker.pubkey))["record"]
    assert done["receipt"]["provider_pubkey"] == worker.pubkey
    assert {name: count for name, count in record.items() if count} == {"completed": 1}


async def test_leases_that_nobody_proves_to_own_run_out(tmp_path: Path, clock: FakeClock) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running_node(database, clock) as node, connected(node) as worker:
        await worker.prove(await worker.register("TASK", **OURS))
        job_id = await node.commit(SUMMARIZE)
        await worker.expect("job_assign")
        node.crash()
    async with running_node(database, clock) as node, impostor(node, worker.pubkey) as thief:
        await thief.register("TASK", active_jobs=[job_id], **OURS)
        frames = await live(node, 40, thief, step=1)
        assert frames[0] == {"type": "job_cancel", "job_id": job_id}
        assert (frames[1]["job_id"], frames[1]["attempt"]) == (job_id, 2)
        assert set((await card(node, worker.pubkey))["record"].values()) == {0}


# Records


async def test_only_who_holds_the_key_has_a_record(node: Node, worker: ForeignWorker) -> None:
    async with impostor(node, "cd" * 32) as thief:
        await thief.register("TASK")
        await worker.socket.close()
        for end in ('{"error":"broke"}', "{}"):
            job_id = await node.commit(SUMMARIZE)
            await thief.expect("job_assign")
            await thief.complete(job_id, end)
            if end == "{}":
                assert (await thief.expect("error"))["code"] == "BAD_RECEIPT"
            await node.pass_time(1)
            async with node.http.delete(f"{node.url}/v1/jobs/{job_id}") as reply:
                assert reply.status == 200
        assert set((await card(node, thief.pubkey))["record"].values()) == {0}


# Proofs that prove nothing


async def refused(worker: ForeignWorker) -> str:
    """Why a worker's proof is none; its connection is closed then."""
    error = await worker.expect("error")
    assert error["code"] == "BAD_PROOF"
    assert await worker.closed() == 1008
    return str(error["message"])


async def test_a_proof_is_good_for_one_connection(node: Node, proven: ForeignWorker) -> None:
    async with connected(node, proven.key) as other, impostor(node, proven.pubkey) as thief:
        ack = await other.register("TASK", **OURS)
        await thief.register("TASK", **OURS)
        thief.key = proven.key  # what the holder of the key has signed, word for word
        await thief.prove(ack)
        await refused(thief)
    await beat(proven)


@pytest.mark.parametrize("public_host", [None, "dispatch.example.org"])
async def test_a_proof_is_good_for_one_coordinator(
    tmp_path: Path, clock: FakeClock, public_host: str | None
) -> None:
    async with running_node(tmp_path / "jobs.sqlite3", clock, public_host=public_host) as node:
        async with foreign_worker(node.http, node.url, host="proxy.example.org") as worker:
            ack = await worker.register("TASK", **OURS)
            await worker.prove(ack, "another.example.org")
            assert repr(public_host or "proxy.example.org") in await refused(worker)
        async with foreign_worker(node.http, node.url, host="proxy.example.org") as worker:
            ack = await worker.register("TASK", **OURS)
            await worker.prove(ack, public_host)
            await beat(worker)
            assert (await card(node, worker.pubkey))["proven"]


@pytest.mark.parametrize("signature", ["", "x", "A" * 86 + "==", "%" * 5000])
async def test_what_is_no_signature_closes_only_its_own_connection(
    node: Node, worker: ForeignWorker, signature: str
) -> None:
    async with connected(node) as other:
        await other.register("TASK", **OURS)
        await other.send(type="prove", signature=signature)
        await refused(other)
    assert await beat(worker) == []


async def test_a_host_that_is_no_text_is_no_host_of_ours(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    introduction = {"type": "register", "provider_pubkey": "ab" * 32, "provider_type": "DESKTOP"}
    register = introduction | {"capabilities": ["TASK"]} | OURS
    async with raw(node.url) as thief:
        await thief.send(UPGRADE.replace(b"Host: x", b"Host: \xff"))
        for message in (register, {"type": "prove", "signature": "AAAA"}):
            await thief.send(frame(json.dumps(message).encode()))
        assert b"BAD_PROOF" in await thief.rest()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_proof_that_nobody_asked_for_changes_nothing(
    node: Node, worker: ForeignWorker, proven: ForeignWorker
) -> None:
    for each in (worker, proven):
        await each.prove({"worker_id": "w", "challenge": "c"})
        assert (await each.expect("error"))["code"] == "UNEXPECTED_PROOF"
    assert (await card(node, proven.pubkey))["proven"]
    assert not (await card(node, worker.pubkey))["proven"]


async def test_a_receipt_from_another_connection_proves_nothing(
    node: Node, worker: ForeignWorker
) -> None:
    """The holder of the key has signed this very job, but it was not assigned here."""
    job_id = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    signed = worker.completion(job_id, "{}")
    async with impostor(node, worker.pubkey) as thief:
        await thief.register("TASK")  # of two that have proven nothing, the newer one stays
        await worker.closed()
        again = await thief.expect("job_assign")
        assert again["job_id"] == job_id
        async with connected(node) as other:
            await other.register("TASK")
            await thief.send(type="job_reject", job_id=job_id, reason="no")
            await other.expect("job_assign")
            await thief.socket.send_str(signed)
            assert (await thief.expect("error"))["code"] == "LEASE_LOST"
        assert not (await card(node, worker.pubkey))["proven"]


async def test_stealing_a_pairing_by_being_connected_first(node: Node) -> None:
    """A claim names a key, never a connection."""
    key = SigningKey.generate()
    pubkey = bytes(key.verify_key).hex()
    async with impostor(node, pubkey) as thief:
        await thief.register("TASK")
        await pair(node, "alice", pubkey)
        assert (await thief.expect("job_assign"))["privacy_class"] == "PUBLIC"
        assert (await as_time_passes(node, commit_private(node), 3))[0] == 422
