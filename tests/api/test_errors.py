"""Whatever is asked, and however, the answer is JSON; a broken request hangs nobody."""

import asyncio
import gzip
import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatchd.api.errors import STATUS
from dispatchd.core.errors import DispatchError
from dispatchd.core.limits import Limits
from tests.api.conftest import COMMIT, JSON_TYPE, LLM, TASK, Api, order

POSTS = (COMMIT, "/v1/jobs/commit/fast", "/v1/trust/create", "/v1/trust/claim")
GETS = ("/v1/health", "/v1/quote?job_type=TASK", "/v1/jobs/x", "/v1/trust/list?user_id=a", "/")
UNKNOWN = (
    *("/v1", "/v1/", "/v2/health", "/v1/health/", "/v1/quote/x", "/v1/job", "/v1/jobs/"),
    *("/v1/jobs/x/y", "/v1/jobs/commit/free", "/v1/trust/none", "/v1/trust/revoke", "//v1/health"),
    *("/favicon.ico", "/%ff", "/%00", "/../etc/passwd", "/v1/health%20"),
)
HEAD = b"POST /v1/jobs/commit/fast HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_every_error_has_a_status() -> None:
    assert {kind.code for kind in DispatchError.__subclasses__()} == STATUS.keys()


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_route(api: Api, method: str, path: str) -> None:
    (await api.ask(method, path)).refuses(404)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", POSTS)
async def test_what_is_changed_with_post(api: Api, method: str, path: str) -> None:
    (await api.ask(method, path)).refuses(405, "POST")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", GETS)
async def test_what_is_read_with_get(api: Api, method: str, path: str) -> None:
    (await api.ask(method, path)).refuses(405, "GET")


@pytest.mark.parametrize("path", POSTS)
async def test_what_is_posted_is_not_read(api: Api, path: str) -> None:
    async with api.node.http.get(f"{api.node.url}{path}") as reply:
        assert reply.status == 405
        assert reply.headers["Allow"] == "POST"
        assert "POST" in (await reply.json())["error"]


def near(value: object) -> st.SearchStrategy[object]:
    """The right value most of the time."""
    return st.one_of(st.just(value), st.just(value), ANYTHING)


TEXTS = st.text(st.characters(exclude_categories=()))  # lone surrogates as well
ANYTHING: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
PAYLOADS = st.fixed_dictionaries(
    {"job_type": near("LLM_INFER"), "prompt": near("x")},
    optional={"max_tokens": near(1), "task_type": near("classify"), "input": near("x")},
)
COMMITS = st.fixed_dictionaries(
    {"job_type": near("LLM_INFER"), "user_id": near("u")},
    optional={"payload": PAYLOADS, "privacy_class": near("PRIVATE"), "x": ANYTHING},
)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={"user_id": near("u"), "pairing_code": near("A"), "provider_pubkey": near("a" * 64)},
)
EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def assert_orderly(reply: Any) -> None:
    """`Api.ask` has checked that it is JSON, and an error a sentence."""
    assert reply.status < 500, reply
    assert reply.status < 400 or reply.body["error"]


@given(path=st.sampled_from(POSTS), body=st.one_of(ANYTHING, COMMITS, CLAIMS))
@EXAMPLES
async def test_any_json_gets_an_orderly_answer(api: Api, path: str, body: object) -> None:
    assert_orderly(await api.post(path, body))


@given(path=st.sampled_from(POSTS), body=st.binary(max_size=64))
@EXAMPLES
async def test_any_bytes_get_an_orderly_answer(api: Api, path: str, body: bytes) -> None:
    assert_orderly(await api.ask("POST", path, body, JSON_TYPE))


@given(content_type=st.text(st.characters(min_codepoint=32, max_codepoint=126)))
@EXAMPLES
async def test_any_content_type_gets_an_orderly_answer(api: Api, content_type: str) -> None:
    assert_orderly(await api.ask("POST", COMMIT, b"{}", {"Content-Type": content_type}))


async def answer(api: Api, request: bytes) -> tuple[int, str, str]:
    """Status, headers and body of what comes back for bytes on a fresh connection."""
    port = int(api.node.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(8):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = int(head.split()[1])
            length = head.lower().partition("content-length:")[2].split()[0]
            return status, head.lower(), (await reader.readexactly(int(length))).decode()
    finally:
        writer.close()
        await writer.wait_closed()


BROKEN = {
    "garbage": b"\x16\x03\x01 hello\r\n\r\n",
    "unknown method": b"BREW /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad version": b"GET /v1/health HTTP/9.x\r\nHost: x\r\n\r\n",
    "bad method": b"G@T /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the target": b"GET /v1/he alth HTTP/1.1\r\nHost: x\r\n\r\n",
    "header without colon": b"GET /v1/health HTTP/1.1\r\nHost x\r\n\r\n",
    "header name with space": b"GET /v1/health HTTP/1.1\r\nA B: x\r\n\r\n",
    "length is a word": HEAD + b"Content-Length: many\r\n\r\n{}",
    "length is negative": HEAD + b"Content-Length: -1\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "unknown transfer": HEAD + b"Transfer-Encoding: x\r\n\r\n{}",
    "a header too large": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
    "a target too long": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "for a browser": b"G@T / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n",
}  # fmt: skip
DAMAGED_BODIES = {
    "chunk size is a word": HEAD + b"Transfer-Encoding: chunked\r\n\r\nmany\r\n{}\r\n0\r\n\r\n",
    "chunk without end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n",
    "not gzip": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "not deflate": HEAD + b"Content-Encoding: deflate\r\nContent-Length: 2\r\n\r\n\xff\xff",
    "unknown expectation": HEAD + b"Expect: wonders\r\nContent-Length: 2\r\n\r\n{}",
}


def assert_json_error(status: int, head: str, body: str) -> None:
    assert 400 <= status < 500, (status, body)
    assert "content-type: application/json" in head, head + body
    assert isinstance(json.loads(body)["error"], str)


@pytest.mark.parametrize("how", BROKEN)
async def test_a_request_that_is_no_http(api: Api, how: str) -> None:
    assert_json_error(*await answer(api, BROKEN[how]))
    assert (await api.get("/v1/health")).status == 200


@pytest.mark.parametrize("how", DAMAGED_BODIES)
async def test_a_body_that_is_damaged_on_the_way(api: Api, how: str) -> None:
    assert_json_error(*await answer(api, DAMAGED_BODIES[how]))
    assert (await api.get("/v1/health")).status == 200


async def test_a_body_that_ends_too_early_harms_nobody(api: Api) -> None:
    port = int(api.node.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"Content-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await api.get("/v1/health")).status == 200


@pytest.mark.parametrize("path", [COMMIT, "/v1/chat/completions"])
async def test_who_leaves_amid_an_upload_is_no_bug(
    api: Api, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    port = int(api.node.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD.replace(b"/v1/jobs/commit/fast", path.encode()))
    writer.write(b"Content-Length: 100\r\n\r\n{")
    async with asyncio.timeout(8):
        while not connections_served():
            await asyncio.sleep(0.002)
        writer.transport.abort()
        while connections_served():
            await asyncio.sleep(0.002)
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def connections_served() -> int:
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return names.count("RequestHandler.start")


@pytest.mark.parametrize("payload", [LLM, TASK], ids=["llm", "task"])
async def test_a_compressed_body_is_read(api: Api, payload: dict[str, Any]) -> None:
    body = gzip.compress(json.dumps(order(payload)).encode())
    reply = await api.ask("POST", COMMIT, body, JSON_TYPE | {"Content-Encoding": "gzip"})
    assert reply.status == 201


async def test_a_compressed_body_is_measured_unpacked(api: Api) -> None:
    body = gzip.compress(b" " * (Limits().body_bytes_max + 1))
    assert len(body) < 10_000
    reply = await api.ask("POST", COMMIT, body, JSON_TYPE | {"Content-Encoding": "gzip"})
    reply.refuses(413)
