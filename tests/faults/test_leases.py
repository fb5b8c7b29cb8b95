"""An assignment is a lease: who holds it, how it ends, and what a late or lying worker can do."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.limits import Limits
from tests.support.alive import beat, live
from tests.support.clock import FakeClock
from tests.support.crowd import PROMPT, SUMMARIZE, autopilot, connected
from tests.support.disk import newer_version
from tests.support.foreign import ForeignWorker
from tests.support.node import Node, running_node

OURS = {"version": "0"}


async def assigned(node: Node, worker: ForeignWorker, **fields: Any) -> str:
    ack = await worker.register(**fields)
    if "challenge" in ack:
        await worker.prove(ack)
    job_id = await node.commit(SUMMARIZE)
    assert (await worker.expect("job_assign"))["job_id"] == job_id
    return job_id


async def record(node: Node, worker: ForeignWorker) -> dict[str, int]:
    """What the worker's record counts, without the zeros."""
    async with node.http.get(f"{node.url}/v1/workers") as reply:
        shown = (await reply.json())["workers"]
    (counts,) = (w["record"] for w in shown if w["provider_pubkey"] == worker.pubkey)
    return {name: count for name, count in counts.items() if count}


async def refused(worker: ForeignWorker, job_id: str) -> None:
    """The worker tries everything with a job that it does not hold."""
    attempts: list[dict[str, Any]] = [{}, {"attempt": 1}, {"attempt": 10**30}, {"attempt": -1}]
    for attempt in attempts:
        receipt = worker.receipt(job_id, "{}")
        await worker.send(
            type="job_complete",
            job_id=job_id,
            output={},
            output_hash=receipt["output_hash"],
            receipt=receipt,
            receipt_signature=worker.sign(receipt),
            **attempt,
        )
        await worker.send(type="job_reject", job_id=job_id, reason="x", **attempt)
        await worker.send(type="job_progress", job_id=job_id, delta="x", **attempt)
        for _ in range(3):
            assert (await worker.expect("error"))["code"] == "LEASE_LOST"


async def test_the_late_result_of_a_lost_connection_changes_nothing(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    await worker.socket.close()
    async with connected(node) as other:
        await other.register()
        assert (await other.expect("job_assign"))["job_id"] == job_id
        async with connected(node, worker.key) as late:
            await late.register()
            await refused(late, job_id)
            assert (await node.job(job_id))["status"] == "assigned"
            await other.complete(job_id)
            done = await node.until(job_id, "completed")
            await refused(late, job_id)
            assert await node.job(job_id) == done
    assert done["receipt"]["provider_pubkey"] == other.pubkey


async def test_a_result_of_an_earlier_attempt_does_not_count_for_the_present_one(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker, **OURS)
    frames = await live(node, 60, worker)
    again = {"type": "job_assign", "job_id": job_id, "attempt": 2}
    frames = frames if len(frames) > 1 else [*frames, await worker.receive()]
    assert frames[0] == {"type": "job_cancel", "job_id": job_id, "attempt": 1}
    assert again.items() <= frames[1].items()
    first, second = (
        {"type": "job_complete", "job_id": job_id, "output": n, "attempt": n} for n in (1, 2)
    )
    for frame in (first, second):
        receipt = worker.receipt(job_id, str(frame["attempt"]))
        await worker.send(**frame, receipt=receipt, receipt_signature=worker.sign(receipt))
    assert (await worker.expect("error"))["code"] == "LEASE_LOST"
    assert (await node.until(job_id, "completed"))["result"] == 2
    assert await record(node, worker) == {"completed": 1, "timed_out": 1}


async def test_one_attempt_completes_once_however_often_it_is_handed_in(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    for n in range(20):
        await worker.complete(job_id, str(n))
    for _ in range(19):
        assert (await worker.expect("error"))["code"] == "LEASE_LOST"
    assert (await node.until(job_id, "completed"))["result"] == 0
    assert await record(node, worker) == {"completed": 1}


async def test_a_completion_and_a_rejection_at_once_have_one_winner(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    await worker.complete(job_id)
    await worker.send(type="job_reject", job_id=job_id, reason="x")
    await node.until(job_id, "completed")
    assert await record(node, worker) == {"completed": 1}


async def test_a_result_followed_by_goodbye_counts(node: Node) -> None:
    for _ in range(20):
        async with connected(node) as worker:
            job_id = await assigned(node, worker)
            await worker.complete(job_id)
        # It was handed in by the holder of the lease before the connection ended.
        assert (await node.until(job_id, "completed"))["receipt"]


async def test_who_waits_for_a_job_hears_of_a_result_followed_by_goodbye(node: Node) -> None:
    for _ in range(20):
        async with connected(node) as worker:
            job_id = await assigned(node, worker)
            waiting = asyncio.create_task(_wait_for(node, job_id))
            await beat(worker)
            await worker.complete(job_id)
        async with asyncio.timeout(5):
            assert await waiting == "completed"


async def _wait_for(node: Node, job_id: str) -> str:
    async with node.http.get(f"{node.url}/v1/jobs/{job_id}?wait=60") as reply:
        return str((await reply.json())["status"])


async def test_the_old_socket_loses_its_jobs_to_the_newcomer_with_its_key(
    node: Node, worker: ForeignWorker
) -> None:
    kept = await assigned(node, worker, max_concurrent_jobs=2, **OURS)
    forgotten = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    async with connected(node, worker.key) as newcomer:
        ack = await newcomer.register(active_jobs=[kept, "another"], **OURS)
        assert ack["resumed"] == [kept]
        await newcomer.prove(ack)
        assert await beat(newcomer) == []
        with suppress(ConnectionError):  # whatever the old connection still sends comes too late
            await worker.complete(kept, '"old"')
        await worker.closed()
        assert (await node.job(kept))["status"] == "running"
        await newcomer.complete(kept, '"new"')
        assert (await node.until(kept, "completed"))["result"] == "new"
        assert (await newcomer.expect("job_assign"))["job_id"] == forgotten


async def test_nobody_resumes_what_another_holds_or_what_has_ended(
    node: Node, worker: ForeignWorker
) -> None:
    held = await assigned(node, worker)
    async with autopilot(node.http, node.url):
        ended = await node.commit(SUMMARIZE)
        await node.until(ended, "completed")
        async with connected(node) as claimant:
            ack = await claimant.register(active_jobs=[held, ended, "", "no id"], **OURS)
            assert "resumed" not in ack
            await refused_at_once(claimant, held, ended)
    await worker.complete(held)
    await node.until(held, "completed")


async def refused_at_once(worker: ForeignWorker, *job_ids: str) -> None:
    for job_id in job_ids:
        await worker.complete(job_id)
        assert (await worker.expect("error"))["code"] == "LEASE_LOST"


async def test_a_lease_that_ran_out_is_not_resumed(tmp_path: Path, clock: FakeClock) -> None:
    """The coordinator was away for longer than the lease; the worker comes back at once."""
    database = tmp_path / "jobs.sqlite3"
    async with running_node(database, clock) as node, connected(node) as worker:
        job_id = await assigned(node, worker, **OURS)
        node.crash()
    clock.advance(31)
    async with running_node(database, clock) as node, connected(node, worker.key) as back:
        ack = await back.register(active_jobs=[job_id], **OURS)
        await back.prove(ack)
        assert await back.expect("job_cancel") == {"type": "job_cancel", "job_id": job_id}
        again = await back.expect("job_assign")
        assert (again["job_id"], again["attempt"]) == (job_id, 2)


async def test_the_run_limit_ends_each_attempt_and_the_last_one_fails_with_timeout(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker, **OURS)
    for attempt in (1, 2, 3):
        assert await live(node, 59, worker) == []
        frames = await live(node, 1, worker)
        if attempt < 3 and len(frames) < 2:
            frames.append(await worker.receive())
        kinds = [(frame["type"], frame["attempt"]) for frame in frames]
        again = [("job_assign", attempt + 1)] if attempt < 3 else []
        assert kinds == [("job_cancel", attempt), *again]
    assert (await node.job(job_id))["result"] == {"error": "timeout"}
    assert await record(node, worker) == {"timed_out": 3}


@pytest.mark.parametrize(
    ("payload", "limits", "seconds"),
    [
        (PROMPT, Limits(faults_max=1), 600),
        (PROMPT, Limits(faults_max=1, llm_run_seconds=7), 7),
        (SUMMARIZE, Limits(faults_max=1, task_run_seconds=7), 7),
    ],
)
async def test_the_run_limit_can_be_set(
    tmp_path: Path, clock: FakeClock, payload: dict[str, Any], limits: Limits, seconds: int
) -> None:
    database = tmp_path / "jobs.sqlite3"
    async with running_node(database, clock, limits) as node, connected(node) as worker:
        await worker.register()
        job_id = await node.commit(payload)
        await worker.expect("job_assign")
        await live(node, seconds - 1, worker)
        assert (await node.job(job_id))["status"] in {"assigned", "running"}
        await live(node, 1, worker)
        assert (await node.job(job_id))["result"] == {"error": "timeout"}


@pytest.mark.parametrize("silent", [False, True])
async def test_a_job_that_loses_three_workers_has_failed(node: Node, silent: bool) -> None:
    job_id = await node.commit(SUMMARIZE)
    for _ in range(3):
        async with connected(node) as worker:
            await worker.register()
            assert (await worker.expect("job_assign"))["job_id"] == job_id
            if silent:
                await node.pass_time(30)
                await worker.closed()
        await _until_not_assigned(node, job_id)
    assert (await node.job(job_id))["result"] == {"error": "worker_disconnected"}
    async with autopilot(node.http, node.url) as pilot:
        await node.until(await node.commit(SUMMARIZE), "completed")
        assert job_id not in pilot.assigned


async def _until_not_assigned(node: Node, job_id: str) -> None:
    async with asyncio.timeout(5):
        while (await node.job(job_id))["status"] in {"assigned", "running"}:
            await asyncio.sleep(0.005)


async def test_who_rejected_a_job_does_not_get_it_while_another_is_only_busy(
    node: Node, worker: ForeignWorker
) -> None:
    async with connected(node) as busy:
        await busy.register()
        blocking = await node.commit(SUMMARIZE)
        await busy.expect("job_assign")
        job_id = await assigned(node, worker, **OURS)
        await worker.send(type="job_reject", job_id=job_id, reason="no")
        assert await live(node, 40, worker, busy, step=1) == []
        await busy.complete(blocking)
        assert (await busy.expect("job_assign"))["job_id"] == job_id
        await busy.complete(job_id)
        await node.until(job_id, "completed")
    assert await record(node, worker) == {"rejected": 1}


async def test_who_rejected_a_job_gets_it_again_when_the_other_has_gone(
    node: Node, worker: ForeignWorker
) -> None:
    async with connected(node) as busy:
        await busy.register()
        await node.commit(SUMMARIZE)
        await busy.expect("job_assign")
        job_id = await assigned(node, worker)
        await worker.send(type="job_reject", job_id=job_id, reason="no")
        assert await live(node, 20, worker, busy) == []
    async with asyncio.timeout(5):
        given = ""
        while given != job_id:
            for frame in await live(node, 1, worker):
                given = frame["job_id"]
                if given != job_id:
                    await worker.complete(given)


async def test_a_rejection_stands_for_others_jobs_not(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker)
    await worker.send(type="job_reject", job_id=job_id, reason="no")
    another = await node.commit(SUMMARIZE)
    assert (await worker.expect("job_assign"))["job_id"] == another


LIES: list[dict[str, Any]] = [
    {"receipt": {"job_id": "00000000-0000-4000-8000-000000000000"}},
    {"receipt": {"provider_pubkey": "ab" * 32}},
    {"receipt": {"output_hash": "0" * 64}},
    {"frame": {"output_hash": "0" * 64}},
    {"frame": {"output": {"another": "output"}}},
    {"frame": {"receipt_signature": ""}},
    {"frame": {"receipt_signature": "AAAA"}},
    {"frame": {"receipt_signature": "%%%"}},
    {"frame": {"receipt_signature": 7}},
    {"frame": {"receipt_signature": "A" * 100_000}},
    {"frame": {"receipt": []}},
    {"frame": {"receipt": "{}"}},
    {"frame": {"receipt": {}}},
    {"frame": {"receipt": 1e400}},
    {"frame": {"receipt": {"job_id": {"deep": [[[[[]]]]]}}}},
    {"frame": {"output_hash": ["x"]}},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
async def test_a_lie_completes_nothing_and_goes_on_record(
    node: Node, worker: ForeignWorker, lie: dict[str, Any]
) -> None:
    job_id = await assigned(node, worker, **OURS)
    receipt = worker.receipt(job_id, "{}", **lie.get("receipt", {}))
    frame = {
        "type": "job_complete",
        "job_id": job_id,
        "output": {},
        "output_hash": receipt["output_hash"],
        "receipt": receipt,
        "receipt_signature": worker.sign(receipt),
    }
    await worker.send(**(frame | lie.get("frame", {})))
    error = await worker.expect("error")
    if error["code"] == "PARSE_ERROR":  # 1e400 is printed as Infinity, which is not JSON
        return
    assert error["code"] == "BAD_RECEIPT"
    assert await record(node, worker) == {"bad_receipts": 1}
    async with autopilot(node.http, node.url) as honest:
        done = await node.until(job_id, "completed")
    assert honest.assigned == [job_id]
    assert done["receipt"]["provider_pubkey"] != worker.pubkey


async def test_the_receipt_of_one_job_does_not_stand_for_another(
    node: Node, worker: ForeignWorker
) -> None:
    first = await assigned(node, worker)
    await worker.complete(first)
    second = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    replayed = worker.completion(first, '{"summary":"x","word_count":1}')
    await worker.socket.send_str(
        replayed.replace(
            f'"type":"job_complete","job_id":"{first}"',
            f'"type":"job_complete","job_id":"{second}"',
        )
    )
    assert (await worker.expect("error"))["code"] == "BAD_RECEIPT"
    assert (await node.job(second))["status"] == "pending"


async def test_every_way_in_which_an_attempt_ends_is_counted(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.prove(await worker.register(max_concurrent_jobs=8, **OURS))
    jobs = [await node.commit(SUMMARIZE) for _ in range(4)]
    for _ in jobs:
        await worker.expect("job_assign")
    await worker.complete(jobs[0])
    await worker.complete(jobs[1], '{"error":"broke"}')
    await worker.send(type="job_reject", job_id=jobs[2], reason="no")
    await worker.socket.send_str(worker.completion(jobs[3], "{}", output_hash="0"))
    assert (await worker.expect("error"))["code"] == "BAD_RECEIPT"
    await node.until(jobs[2], "pending")
    expected = {"completed": 1, "failed": 1, "rejected": 1, "bad_receipts": 1}
    assert await record(node, worker) == expected


async def test_a_record_outlives_the_connection(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker, **OURS)
    await worker.socket.close()
    await node.until(job_id, "pending")
    async with connected(node, worker.key) as back:
        await back.register()
        assert await record(node, back) == {"lost": 1}
        await back.expect("job_assign")


async def test_a_living_worker_keeps_its_lease_through_trouble_with_the_disk(
    node: Node, worker: ForeignWorker, tmp_path: Path
) -> None:
    """The store could not renew the lease, which is not the worker's silence."""
    job_id = await assigned(node, worker, **OURS)
    with newer_version(tmp_path / "jobs.sqlite3"):
        for _ in range(33):
            node.clock.advance(1)
            await beat(worker)
            with suppress(StoreUnavailable):
                await node.parts.sweep.once()
    for _ in range(12):
        node.clock.advance(1)
        await beat(worker)
        await node.parts.sweep.once()
    assert (await node.job(job_id))["status"] == "running"
    await worker.complete(job_id)
    await node.until(job_id, "completed")
    assert await record(node, worker) == {"completed": 1}
