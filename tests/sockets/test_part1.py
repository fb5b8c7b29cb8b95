"""Workers that other people wrote, over a real socket."""

import hashlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from nacl.signing import SigningKey

from tests.support.foreign import RECEIPT_FIELDS, ForeignWorker, foreign_worker
from tests.support.node import Node

SUMMARIZE = {"job_type": "TASK", "task_type": "summarize", "input": "A text."}
PROMPT = {"job_type": "LLM_INFER", "prompt": "Hello"}


@pytest.fixture
async def worker(node: Node) -> AsyncIterator[ForeignWorker]:
    async with foreign_worker(node.http, node.url) as connected:
        yield connected


async def assigned(node: Node, worker: ForeignWorker, **fields: Any) -> str:
    """Registers the worker, commits a job and returns its id once it has been pushed."""
    await worker.register()
    job_id = await node.commit(SUMMARIZE, **fields)
    assert (await worker.expect("job_assign"))["job_id"] == job_id
    return job_id


async def workers_online(node: Node) -> int:
    async with node.http.get(f"{node.url}/v1/health") as reply:
        return int((await reply.json())["workers_online"])


async def test_who_hangs_up_before_it_is_greeted_leaves_no_trace(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    greet = web.WebSocketResponse.prepare

    async def hung_up(self: web.WebSocketResponse, request: web.BaseRequest) -> Any:
        assert request.transport is not None
        request.transport.abort()
        return await greet(self, request)

    monkeypatch.setattr(web.WebSocketResponse, "prepare", hung_up)
    with pytest.raises(aiohttp.ClientError):
        await node.http.ws_connect(node.url)
    assert await workers_online(node) == 0
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_registers_beats_and_is_counted(node: Node, worker: ForeignWorker) -> None:
    ack = await worker.register("TASK", pricing_hint="cheap")
    assert ack["status"] == "ok"
    assert ack["worker_id"]
    await worker.send(
        type="heartbeat", provider_pubkey=worker.pubkey, metrics={"cpu_pct": 1, "mem_pct": 2}
    )
    assert await worker.expect("heartbeat_ack") == {"type": "heartbeat_ack", "status": "ok"}
    assert await workers_online(node) == 1
    await worker.socket.close()
    while await workers_online(node) == 1:
        pass


async def test_an_assignment_carries_what_the_client_sent(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register("LLM_INFER")
    payload = PROMPT | {"max_tokens": 7, "new_field": {"deep": [1.0, 1e-7]}}
    job_id = await node.commit(payload)
    frame = await worker.expect("job_assign")
    assert frame["payload"] == payload
    assert {name: frame[name] for name in ("job_id", "job_type", "policy", "privacy_class")} == {
        "job_id": job_id,
        "job_type": "LLM_INFER",
        "policy": "CHEAP",
        "privacy_class": "PUBLIC",
    }
    assert frame["user_id"] == "user_abc123"


@pytest.mark.parametrize(
    "output",
    [
        '{"b":1.0,"a":1e-7}',
        '{ "spaced" : [ 1 , 2.50 ] }',
        '{"escaped":"\\u00e9\\ud83d\\ude00"}',
        '"just text"',
        "null",
        "[1,2]",
        '{"lone":"\\ud800"}',
        '{"big":123456789012345678901234567890,"tiny":1e-400}',
        '{"twice":1,"twice":2}',
    ],
)
async def test_output_and_receipt_are_kept_to_the_byte(
    node: Node, worker: ForeignWorker, output: str
) -> None:
    job_id = await assigned(node, worker)
    await worker.complete(job_id, output)
    await node.until(job_id, "completed")
    async with node.http.get(f"{node.url}/v1/jobs/{job_id}") as reply:
        text = await reply.text()
    assert f'"result":{output},"receipt":{{"job_id"' in text
    receipt = json.loads(text)["receipt"]
    assert receipt["output_hash"] == hashlib.sha256(output.encode()).hexdigest()
    assert receipt["verified"] is True
    signed = {name: receipt[name] for name in RECEIPT_FIELDS}
    assert receipt["signature"] == worker.sign(signed)


async def test_a_receipt_in_another_order_of_keys_counts_as_it_was_signed(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    output = {"summary": "x", "word_count": 2}
    # json.dumps spaces the whole frame out; the hash is over the output as it then stands there.
    receipt = dict(reversed(worker.receipt(job_id, json.dumps(output)).items()))
    await worker.send(
        type="job_complete",
        job_id=job_id,
        output=output,
        output_hash=receipt["output_hash"],
        receipt=receipt,
        receipt_signature=worker.sign(receipt),
    )
    done = await node.until(job_id, "completed")
    assert [name for name in done["receipt"] if name in RECEIPT_FIELDS] == list(receipt)


async def test_the_receipt_may_follow_by_itself(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker)
    receipt = worker.receipt(job_id, "{}")
    await worker.send(
        type="job_complete", job_id=job_id, output={}, output_hash=receipt["output_hash"]
    )
    await worker.send(type="receipt_submit", receipt=receipt, signature=worker.sign(receipt))
    done = await node.until(job_id, "completed")
    assert done["receipt"]["signature"] == worker.sign(receipt)


async def test_the_receipt_may_come_first(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker)
    receipt = worker.receipt(job_id, "{}")
    await worker.send(type="receipt_submit", receipt=receipt, signature=worker.sign(receipt))
    await worker.send(
        type="job_complete", job_id=job_id, output={}, output_hash=receipt["output_hash"]
    )
    await node.until(job_id, "completed")


async def test_a_receipt_that_never_comes_fails_the_attempt(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    for attempt in range(3):
        await worker.send(type="job_complete", job_id=job_id, output={}, output_hash="")
        await worker.send(type="heartbeat")
        await worker.expect("heartbeat_ack")
        await node.pass_time(9)
        assert (await node.job(job_id))["status"] in {"assigned", "running"}
        await node.pass_time(1)
        if attempt < 2:
            await node.until(job_id, "pending")
            await worker.send(type="heartbeat")
            await worker.expect("heartbeat_ack")
            await node.pass_time(6)
            assert (await worker.expect("job_assign"))["job_id"] == job_id
    failed = await node.until(job_id, "failed")
    assert failed["result"] == {"error": "missing_receipt"}
    assert failed["receipt"] is None
    assert failed["completed_at"] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job_id", "0" * 36),
        ("provider_pubkey", "ab" * 32),
        ("output_hash", "00" * 32),
        ("payment_ref", 5),
    ],
)
async def test_a_receipt_that_does_not_hold_fails_the_attempt(
    node: Node, worker: ForeignWorker, field: str, value: object
) -> None:
    job_id = await assigned(node, worker)
    await worker.socket.send_str(worker.completion(job_id, "{}", **{field: value}))
    frame = await worker.expect("error")
    assert frame["code"] == "BAD_RECEIPT"
    assert (await node.job(job_id))["status"] == "pending"


async def test_anothers_signature_does_not_count(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker)
    worker.key = SigningKey.generate()
    await worker.complete(job_id)
    assert (await worker.expect("error"))["code"] == "BAD_RECEIPT"


async def test_an_output_that_is_an_error_is_a_failed_attempt(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    await worker.complete(job_id, '{"error":"model exploded"}')
    pending = await node.until(job_id, "pending")
    assert pending["result"] is None


async def test_a_rejected_job_comes_back_after_five_seconds_and_fails_after_three(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    await worker.send(type="job_reject", job_id=job_id, reason="too_hot")
    await node.until(job_id, "pending")
    await node.pass_time(4)
    assert (await node.job(job_id))["status"] == "pending"
    await node.pass_time(1)
    assert (await worker.expect("job_assign"))["job_id"] == job_id
    await worker.send(type="job_reject", job_id=job_id, reason="too_hot")
    await node.until(job_id, "pending")
    await node.pass_time(5)
    await worker.expect("job_assign")
    await worker.send(type="job_reject", job_id=job_id, reason="still_too_hot")
    failed = await node.until(job_id, "failed")
    assert failed["result"] == {"error": "still_too_hot"}


async def test_a_rejected_job_goes_to_another_worker_at_once(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    async with foreign_worker(node.http, node.url) as other:
        await other.register()
        await worker.send(type="job_reject", job_id=job_id, reason="busy")
        assert (await other.expect("job_assign"))["job_id"] == job_id
        await other.complete(job_id)
        await node.until(job_id, "completed")


async def test_takes_one_job_at_a_time_unless_it_says_more(
    node: Node, worker: ForeignWorker
) -> None:
    first = await assigned(node, worker)
    second = await node.commit(SUMMARIZE)
    await worker.send(type="heartbeat")
    await worker.expect("heartbeat_ack")
    assert (await node.job(second))["status"] == "pending"
    await worker.complete(first)
    assert (await worker.expect("job_assign"))["job_id"] == second
    async with foreign_worker(node.http, node.url) as wide:
        await wide.register(max_concurrent_jobs=2)
        jobs = {await node.commit(SUMMARIZE) for _ in range(2)}
        assert {(await wide.expect("job_assign"))["job_id"] for _ in range(2)} == jobs


async def test_workers_that_suit_alike_take_turns_and_a_newcomer_has_its_share(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register(max_concurrent_jobs=4)
    for _ in range(3):
        job_id = await node.commit(SUMMARIZE)
        assert (await worker.expect("job_assign"))["job_id"] == job_id
        await worker.complete(job_id)
        await node.until(job_id, "completed")
    async with foreign_worker(node.http, node.url, SigningKey.generate()) as newcomer:
        await newcomer.register(max_concurrent_jobs=4)
        jobs = [await node.commit(SUMMARIZE) for _ in range(4)]
        takers = (worker, worker, newcomer, newcomer)
        given = [(await each.expect("job_assign"))["job_id"] for each in takers]
        assert sorted(given) == sorted(jobs)


async def test_a_lost_worker_means_another_attempt(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker)
    await worker.socket.close()
    await node.until(job_id, "pending")
    async with foreign_worker(node.http, node.url) as other:
        await other.register()
        assert (await other.expect("job_assign"))["job_id"] == job_id
        await other.complete(job_id)
        await node.until(job_id, "completed")


async def test_silence_ends_a_lease_and_the_connection(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker)
    await node.pass_time(29)
    assert (await node.job(job_id))["status"] in {"assigned", "running"}
    await node.pass_time(1)
    await node.until(job_id, "pending")
    await worker.closed()
    assert await workers_online(node) == 0


async def test_pongs_are_not_signs_of_life_but_any_text_is(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register()
    await node.pass_time(20)
    await worker.socket.send_str("garbage")
    assert (await worker.expect("error"))["code"] == "PARSE_ERROR"
    await node.pass_time(20)
    assert await workers_online(node) == 1
    await worker.socket.pong(b"alive?")
    await node.pass_time(10)
    assert await workers_online(node) == 0


async def test_only_the_holder_can_complete_a_job(node: Node, worker: ForeignWorker) -> None:
    job_id = await assigned(node, worker)
    async with foreign_worker(node.http, node.url) as thief:
        await thief.register()
        await thief.complete(job_id)
        assert (await thief.expect("error"))["code"] == "LEASE_LOST"
        await thief.send(type="job_reject", job_id=job_id, reason="x")
        assert (await thief.expect("error"))["code"] == "LEASE_LOST"
        await thief.send(type="job_progress", job_id=job_id, delta="x")
        assert (await thief.expect("error"))["code"] == "LEASE_LOST"
    assert (await node.job(job_id))["status"] == "assigned"


async def test_the_same_key_again_takes_the_old_ones_place(
    node: Node, worker: ForeignWorker
) -> None:
    job_id = await assigned(node, worker)
    async with foreign_worker(node.http, node.url, worker.key) as newcomer:
        await newcomer.register()
        await worker.closed()
        assert (await newcomer.expect("job_assign"))["job_id"] == job_id
        await newcomer.complete(job_id)
        await node.until(job_id, "completed")
        assert await workers_online(node) == 1


async def test_a_socket_that_never_registers_is_closed_after_a_minute(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.send(type="heartbeat")
    assert (await worker.expect("error"))["code"] == "NOT_REGISTERED"
    await node.pass_time(60)
    await worker.closed()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "PARSE_ERROR"),
        ("", "PARSE_ERROR"),
        ("[]", "UNKNOWN_MSG"),
        ('{"type":"launch_missiles"}', "UNKNOWN_MSG"),
        ('{"type":7}', "UNKNOWN_MSG"),
        ('{"type":"job_complete"}', "INVALID_MSG"),
        ('{"type":"job_complete","job_id":5,"output":1}', "INVALID_MSG"),
        ('{"type":"job_complete","job_id":"x","output":1}', "LEASE_LOST"),
        ('{"type":"job_reject","job_id":"x"}', "LEASE_LOST"),
        ('{"a":' * 20_000, "PARSE_ERROR"),
    ],
)
async def test_garbage_is_answered_and_harms_nobody(
    node: Node, worker: ForeignWorker, frame: str, code: str
) -> None:
    async with foreign_worker(node.http, node.url) as other:
        await other.register()
        await worker.register()
        await worker.socket.send_str(frame)
        while (answer := await worker.receive())["type"] != "error":
            pass
        assert answer["code"] == code
        await other.send(type="heartbeat")
        await other.expect("heartbeat_ack")


async def test_bytes_are_no_frames(worker: ForeignWorker) -> None:
    await worker.socket.send_bytes(b"\x00\x01")
    assert (await worker.expect("error"))["code"] == "PARSE_ERROR"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"provider_pubkey": "xyz"}, "provider_pubkey"),
        ({"provider_type": "TOASTER"}, "provider_type"),
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": ["MINING"]}, "capabilities"),
        ({"capabilities": "TASK"}, "capabilities"),
        ({"max_concurrent_jobs": 0}, "max_concurrent_jobs"),
    ],
)
async def test_a_bad_registration_is_refused_by_name_and_may_be_tried_again(
    worker: ForeignWorker, fields: dict[str, Any], named: str
) -> None:
    ack = await worker.register(**fields)
    assert ack["status"] == "error"
    assert named in ack["error"]
    assert (await worker.register())["status"] == "ok"


async def test_unknown_capabilities_and_fields_are_passed_over(
    node: Node, worker: ForeignWorker
) -> None:
    ack = await worker.register("TASK", "MINING", colour="blue")
    assert ack["status"] == "ok"
    job_id = await node.commit(SUMMARIZE)
    assert (await worker.expect("job_assign"))["job_id"] == job_id


async def test_a_private_job_goes_only_to_whom_the_user_trusts(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register()
    async with foreign_worker(node.http, node.url) as stranger:
        await stranger.register()
        async with node.http.post(
            f"{node.url}/v1/trust/create", json={"user_id": "user_abc123"}
        ) as reply:
            code = (await reply.json())["pairing_code"]
        claim = {"pairing_code": code, "provider_pubkey": worker.pubkey.upper()}
        async with node.http.post(f"{node.url}/v1/trust/claim", json=claim) as reply:
            assert reply.status == 200
        await worker.pass_canary()
        for _ in range(3):
            job_id = await node.commit(SUMMARIZE, privacy_class="PRIVATE")
            frame = await worker.expect("job_assign")
            assert (frame["job_id"], frame["privacy_class"]) == (job_id, "PRIVATE")
            await worker.complete(job_id)
            await node.until(job_id, "completed")


async def test_nobody_capable_for_half_a_minute_fails_the_job(node: Node) -> None:
    job_id = await node.commit(SUMMARIZE)
    await node.pass_time(29)
    assert (await node.job(job_id))["status"] == "pending"
    await node.pass_time(1)
    assert (await node.job(job_id))["result"] == {"error": "no_eligible_worker"}


async def test_the_half_minute_starts_again_when_the_last_worker_leaves(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register("LLM_INFER")
    blocked = await node.commit(PROMPT)
    await worker.expect("job_assign")
    job_id = await node.commit(PROMPT)
    for _ in range(4):
        await worker.send(type="heartbeat")
        await worker.expect("heartbeat_ack")
        await node.pass_time(20)
    assert (await node.job(job_id))["status"] == "pending"
    await worker.socket.close()
    await node.until(blocked, "pending")
    await node.pass_time(29)
    assert (await node.job(job_id))["status"] == "pending"
    await node.pass_time(2)
    assert (await node.job(job_id))["status"] == "failed"
