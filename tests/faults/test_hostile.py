"""Hostile and broken peers: each is refused, and nobody else notices."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatchd.core.limits import Limits
from tests.support.alive import beat
from tests.support.clock import FakeClock
from tests.support.crowd import PROMPT, SUMMARIZE, autopilot, connected, health, offer, order
from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import Node, running_node
from tests.support.process import dispatchd
from tests.support.raw import Raw, frame, garbage, raw

pytestmark = pytest.mark.long

HEAD = b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MEGABYTE = 1024 * 1024
PROMPTLY_SECONDS = 1.0


@asynccontextmanager
async def limited(tmp_path: Path, clock: FakeClock, **limits: Any) -> AsyncIterator[Node]:
    """A node with some limits of its own."""
    async with running_node(tmp_path / "jobs.sqlite3", clock, Limits(**limits)) as node:
        yield node


async def healthy(node: Node, workers: int | None = None) -> None:
    """The node answers, and nothing is wrong with it."""
    async with asyncio.timeout(PROMPTLY_SECONDS):
        found = await health(node.http, node.url)
    assert found["status"] == "ok"
    assert workers is None or found["workers_online"] == workers


async def serves(node: Node) -> None:
    """An honest client's job is done promptly by an honest worker, which must be online."""
    async with asyncio.timeout(PROMPTLY_SECONDS):
        await node.until(await node.commit(SUMMARIZE), "completed")


# HTTP


async def test_a_head_that_does_not_end_is_given_up(tmp_path: Path, clock: FakeClock) -> None:
    async with limited(tmp_path, clock, header_seconds=0.3) as node:
        async with raw(node.url) as silent, raw(node.url) as half, raw(node.url) as second:
            await half.send(HEAD)
            await second.send(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await second.reply())[0] == 200
            await second.send(b"GET /v1/hea")
            for peer in (silent, half, second):
                assert b" 200 " not in await peer.rest(3)
        await healthy(node)


async def test_a_head_that_comes_byte_by_byte_gains_no_time(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with limited(tmp_path, clock, header_seconds=0.3) as node, raw(node.url) as peer:
        start = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - start < 3:
                await peer.send(b"X")
                await asyncio.sleep(0.02)
        assert time.monotonic() - start < 3
        await healthy(node)


async def test_a_connection_between_two_requests_may_wait(tmp_path: Path, clock: FakeClock) -> None:
    async with limited(tmp_path, clock, header_seconds=0.1) as node, raw(node.url) as peer:
        for _ in range(2):
            await peer.send(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await peer.reply())[0] == 200
            with pytest.raises(TimeoutError):  # nothing comes, and the connection stays
                await peer.rest(0.3)


async def test_a_body_that_does_not_end_is_a_408(tmp_path: Path, clock: FakeClock) -> None:
    async with limited(tmp_path, clock, body_seconds=0.2) as node, raw(node.url) as peer:
        await peer.send(HEAD + b"Content-Length: 100\r\n\r\n{")
        status, answer = await peer.reply()
        assert (status, answer["code"]) == (408, "too_slow")
        await healthy(node)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_a_413(node: Node, *, chunked: bool) -> None:
    body = b" " * (MEGABYTE + 1)
    async with raw(node.url) as peer:
        if chunked:
            content = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
            head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        else:
            content, head = body, HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode()
        await peer.send(head + content)
        status, answer = await peer.reply()
        assert (status, answer["code"]) == (413, "too_large")
    await healthy(node)


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/jobs/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/jobs/%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/jobs/%ED%A0%80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/trust/list?user_id=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/jobs/x?wait=\xb2 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/jobs/x?wait=99999999999999999999 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        HEAD + b"Idempotency-Key: \xff\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=lambda head: head[:60].decode("latin-1").encode("unicode_escape").decode(),
)
async def test_strange_requests_are_refused_in_json(node: Node, head: bytes) -> None:
    async with raw(node.url) as peer:
        await peer.send(head)
        status, answer = await peer.reply()
        assert 400 <= status < 500, answer
        assert isinstance(answer["error"], str)
    await healthy(node)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=300))
async def test_any_bytes_harm_nobody(node: Node, data: bytes) -> None:
    async with raw(node.url) as peer:
        await peer.send(data)
    await healthy(node)


async def test_one_address_may_have_only_so_many_connections(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with limited(tmp_path, clock, connections_per_address_max=5) as node:
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(raw(node.url)) for _ in range(5)]
            for peer in peers:
                await peer.send(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await peer.reply())[0] == 200
            async with raw(node.url) as sixth:
                assert await sixth.rest() == b""
        async with asyncio.timeout(5):
            while True:  # the places are free as soon as the node has seen the others go
                try:
                    await healthy(node)
                except aiohttp.ClientError:
                    await asyncio.sleep(0.01)
                else:
                    break


# Pairing codes


async def guess(node: Node, code: str = "000000") -> tuple[int, dict[str, str]]:
    claim = {"pairing_code": code, "provider_pubkey": "ab" * 32}
    async with node.http.post(f"{node.url}/v1/trust/claim", json=claim) as reply:
        assert "error" in await reply.json() or reply.ok
        return reply.status, dict(reply.headers)


async def fresh_code(node: Node) -> str:
    body = {"user_id": "alice"}
    async with node.http.post(f"{node.url}/v1/trust/create", json=body) as reply:
        return str((await reply.json())["pairing_code"])


async def test_wrong_pairing_codes_are_20_a_minute(node: Node) -> None:
    code = await fresh_code(node)
    for _ in range(20):
        assert (await guess(node))[0] == 400
        node.clock.advance(0.5)
    for attempt in ("000000", code):
        status, headers = await guess(node, attempt)
        assert status == 429
        assert 1 <= int(headers["Retry-After"]) <= 60
    node.clock.advance(49)
    assert (await guess(node, code))[0] == 429
    node.clock.advance(1)
    assert (await guess(node, code))[0] == 200


async def test_wrong_pairing_codes_in_all(tmp_path: Path, clock: FakeClock) -> None:
    async with limited(
        tmp_path, clock, wrong_codes_per_address_max=1000, wrong_codes_max=7
    ) as node:
        statuses = [(await guess(node))[0] for _ in range(9)]
        assert statuses == [400] * 7 + [429] * 2
        clock.advance(60)
        assert (await guess(node, await fresh_code(node)))[0] == 200


async def test_right_codes_are_not_counted(node: Node) -> None:
    for _ in range(30):
        assert (await guess(node, await fresh_code(node)))[0] == 200


async def test_guessing_many_codes_at_one_instant_gains_nothing(node: Node) -> None:
    await health(node.http, node.url)
    statuses = [status for status, _ in await asyncio.gather(*(guess(node) for _ in range(80)))]
    assert sorted(statuses) == [400] * 20 + [429] * 60


# Worker sockets


async def test_a_frame_over_the_limit_closes_its_socket_with_1009(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with (
        limited(tmp_path, clock, frame_bytes_max=10_000) as node,
        autopilot(node.http, node.url),
        connected(node) as peer,
    ):
        await peer.register()
        await peer.socket.send_str("x" * 10_001)
        assert await peer.closed() == 1009
        await serves(node)


async def test_the_default_limit_of_a_frame_is_4_mebibytes(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register()
    await worker.socket.send_str(json.dumps({"type": "heartbeat", "x": "y" * (4 * MEGABYTE - 40)}))
    await worker.expect("heartbeat_ack")
    await worker.socket.send_str("x" * (4 * MEGABYTE + 1))
    assert await worker.closed() == 1009


async def test_pieces_of_a_frame_over_the_limit_close_its_socket(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with limited(tmp_path, clock, frame_bytes_max=10_000) as node, raw(node.url) as peer:
        await peer.upgrade()
        await peer.send(frame(b"x" * 6_000, final=False))
        await peer.send(frame(b"x" * 6_000, opcode=0, final=False))
        assert (1009).to_bytes(2, "big") in await peer.rest()
        await healthy(node)


async def test_more_frames_than_allowed_close_their_socket_with_1008(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with (
        limited(tmp_path, clock, frames_per_second_max=100) as node,
        autopilot(node.http, node.url),
        connected(node) as flood,
    ):
        await flood.register()
        for _ in range(99):
            await flood.send(type="heartbeat")
        for _ in range(99):
            await flood.expect("heartbeat_ack")
        clock.advance(1)
        await beat(flood)  # a second later it may go on
        for _ in range(100):
            await flood.send(type="heartbeat")
        assert await flood.closed() == 1008
        await serves(node)
        await online(node, 1)


async def test_an_unregistered_socket_is_closed_in_time_whatever_it_sends(node: Node) -> None:
    async with connected(node) as peer:
        for _ in range(6):
            await peer.socket.send_str("garbage")
            assert (await peer.expect("error"))["code"] == "PARSE_ERROR"
            ack = await peer.register(provider_pubkey="no key")
            assert ack["status"] == "error"
            await node.pass_time(10)
        await peer.closed()
    await healthy(node, workers=0)


@pytest.mark.parametrize(
    "data",
    [
        frame(b"\xff\xfe"),
        frame(b"x", opcode=0x3),
        frame(b"x", opcode=0x0),
        frame(b"x" * 126, opcode=0x9),
        frame(b"\x00\x01", opcode=0x8),
        frame(b"\x03", opcode=0x8),
        b"\xf1\x81\x00\x00\x00\x00x",
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        frame(b"x", final=False) + frame(b"y"),
    ],
    ids=lambda data: data[:8].hex(),
)
async def test_a_broken_frame_closes_its_own_socket_only(node: Node, data: bytes) -> None:
    async with autopilot(node.http, node.url), raw(node.url) as peer:
        await peer.upgrade()
        await peer.send(data)
        await peer.rest()
        await serves(node)
        await healthy(node, workers=1)


async def test_random_bytes_on_a_socket_harm_nobody(node: Node) -> None:
    async with autopilot(node.http, node.url):
        for _ in range(20):
            async with raw(node.url) as peer:
                await peer.upgrade()
                await peer.send(garbage(500))
        await serves(node)
        await healthy(node, workers=1)


# What a registered worker may send: anything that is JSON, in the places where it matters most.

TEXTS = st.text(max_size=20) | st.sampled_from(["\ud800", "", "0" * 36, "\x00", "é" * 300])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -(2**63), 2**64, 1e308])
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    ["register", "heartbeat", "job_complete", "job_reject", "receipt_submit", "job_progress"]
)
FIELDS = (
    *("job_id", "output", "output_hash", "receipt", "receipt_signature", "attempt", "reason"),
    *("final", "delta", "metrics", "provider_pubkey", "signature", "active_jobs", "slots"),
    *("models", "capabilities", "max_concurrent_jobs", "version", "device", "pricing_hint"),
)
MINE = "mine"
"""Stands for the job that the worker holds."""


def messages() -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        name: st.just(MINE) | ANYTHING if name == "job_id" else ANYTHING for name in FIELDS
    } | {"receipt": ANYTHING | st.fixed_dictionaries({"job_id": st.just(MINE) | ANYTHING})}
    return st.fixed_dictionaries({"type": KINDS}, optional=fields)


def put_in(value: Any, job_id: str) -> Any:
    """The message with the job's id where `MINE` stood."""
    if isinstance(value, dict):
        return {name: put_in(member, job_id) for name, member in value.items()}
    return job_id if value == MINE else value


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=st.lists(messages() | ANYTHING | TEXTS, min_size=1, max_size=5))
async def test_any_message_of_a_registered_worker_harms_nobody(
    node: Node, caplog: pytest.LogCaptureFixture, sent: list[Any]
) -> None:
    async with connected(node) as liar:
        await liar.register("LLM_INFER", max_concurrent_jobs=2, version="0")
        await node.commit(PROMPT)
        job_id = str((await liar.expect("job_assign"))["job_id"])
        async with autopilot(node.http, node.url, max_concurrent_jobs=4):
            for message in sent:
                await liar.socket.send_str(json.dumps(put_in(message, job_id)))
            await serves(node)
            await beat(liar)
            receipt = (await node.job(job_id))["receipt"] or {}
            assert receipt.get("provider_pubkey") != liar.pubkey
            await healthy(node, workers=2)
    assert [entry for entry in caplog.records if entry.levelname == "ERROR"] == []


# Peers that hold things up


@asynccontextmanager
async def deaf(url: str, places: int = 50) -> AsyncIterator[Raw]:
    """A registered worker that reads nothing, to which the node soon can send no more."""
    async with raw(url, receive_bytes=4096) as peer:
        await peer.upgrade()
        register = {
            "type": "register",
            "provider_pubkey": "ab" * 32,
            "provider_type": "DESKTOP",
            "capabilities": ["TASK"],
            "max_concurrent_jobs": places,
        }
        peer.writer.write(frame(json.dumps(register).encode()))
        peer.writer.write(frame(b"garbage") * 2_000_000)
        yield peer


async def online(node: Node, workers: int) -> None:
    """Waits until so many workers are online."""
    async with asyncio.timeout(10):
        while (await health(node.http, node.url))["workers_online"] != workers:
            await asyncio.sleep(0.01)


async def test_a_worker_that_never_reads_delays_nobody(tmp_path: Path, clock: FakeClock) -> None:
    async with (
        limited(tmp_path, clock, frames_per_second_max=10**9) as node,
        deaf(node.url) as peer,
    ):
        await online(node, 1)
        taken = [await node.commit(SUMMARIZE) for _ in range(50)]
        await node.until(taken[-1], "assigned")
        async with autopilot(node.http, node.url):
            clock.advance(20)
            for _ in range(3):
                await serves(node)
            # It answers nothing, so in the end its jobs go to the other one.
            await node.pass_time(10)
            for job_id in taken:
                await node.until(job_id, "completed")
            await healthy(node, workers=1)
        async with asyncio.timeout(10):  # nor does it keep its connection
            while not peer.writer.transport.is_closing():
                await asyncio.sleep(0.05)


async def test_a_worker_that_floods_progress_delays_nobody(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register("LLM_INFER", version="0")
    job_id = await node.commit(PROMPT)
    await worker.expect("job_assign")
    progress = json.dumps({"type": "job_progress", "job_id": job_id, "delta": "text " * 20})

    async def flood() -> None:
        for n in range(15_000):
            await worker.socket.send_str(progress)
            if n % 10 == 0:
                await asyncio.sleep(0)

    flooding = asyncio.create_task(flood())
    async with autopilot(node.http, node.url):
        served = 0
        while not flooding.done():
            await serves(node)
            served += 1
    await flooding
    assert served >= 3
    assert (await node.job(job_id))["status"] == "running"
    await worker.complete(job_id)
    await node.until(job_id, "completed")


async def test_a_thousand_wrong_results_delay_nobody(node: Node, worker: ForeignWorker) -> None:
    await worker.register("LLM_INFER")
    async with autopilot(node.http, node.url):
        for n in range(1000):
            await worker.complete(f"{n}")
            if n % 100 == 0:
                await serves(node)
        for _ in range(1000):
            assert (await worker.expect("error"))["code"] == "LEASE_LOST"


NESTED = "[" * 900 + "]" * 900
MANY = 4 * MEGABYTE - 2000


def huge_frames(worker: ForeignWorker, job_id: str) -> dict[str, str]:
    """Frames within the limit whose reading costs as much as possible."""
    done = worker.completion(job_id, "{}")
    before, mark, after = done.partition('"payment_ref": null')
    pairs = ',"a":1' * (MANY // 6)
    return {
        "members": '{"type":"heartbeat","x":"\\ud800"' + pairs + "}",
        "empty arrays": "[" + "[]," * (MANY // 3) + "[]]",
        "numbers in the receipt": f'{before}{mark},"x":[{"1e5," * (MANY // 4)}1]{after}',
        "spaces in the receipt": f'{before}{mark},"x":[{"1 , " * (MANY // 4)}1]{after}',
    }


@pytest.mark.parametrize(
    "what", ["members", "empty arrays", "numbers in the receipt", "spaces in the receipt"]
)
async def test_a_frame_that_is_hard_to_read_delays_nobody(tmp_path: Path, what: str) -> None:
    arguments = ("run", "--testnet", "--no-worker", "--port", "0", "--db", str(tmp_path / "db"))
    with dispatchd(*arguments, home=tmp_path) as process:
        url = await asyncio.to_thread(process.url)
        async with aiohttp.ClientSession() as http, foreign_worker(http, url) as peer:
            await peer.register()
            _, answer, _ = await offer(http, url, order())
            await peer.expect("job_assign")
            hard = huge_frames(peer, answer["job_id"])[what]
            await health(http, url)
            sending = asyncio.create_task(peer.socket.send_str(hard))
            answered = asyncio.create_task(peer.expect("error"))
            longest = 0.0
            while not answered.done():
                start = time.monotonic()
                await health(http, url)
                longest = max(longest, time.monotonic() - start)
            await sending
            assert answered.result()["code"] in {"BAD_RECEIPT", "INVALID_MSG", "UNKNOWN_MSG"}
    assert longest < PROMPTLY_SECONDS


async def test_a_receipt_that_is_nested_deeply_is_a_bad_one(
    node: Node, worker: ForeignWorker
) -> None:
    await worker.register()
    job_id = await node.commit(SUMMARIZE)
    await worker.expect("job_assign")
    done = worker.completion(job_id, "{}")
    await worker.socket.send_str(
        done.replace('"payment_ref": null', f'"payment_ref": null,"x":{NESTED}')
    )
    assert (await worker.expect("error"))["code"] == "BAD_RECEIPT"
    await node.until(job_id, "pending")
