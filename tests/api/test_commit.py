"""Committing is strict: whatever the guide does not allow is refused, and the field named."""

import json
from typing import Any
from uuid import UUID

import pytest

from dispatchd.core.limits import Limits
from tests.api.conftest import COMMIT, JSON_TYPE, LLM, TASK, Api, order
from tests.support.node import USER

MISSING = "Missing required fields: job_type, payload, user_id"
NOT_STRINGS: list[Any] = [None, 7, 1.5, True, ["x"], {"x": 1}]


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize("tier", ["fast", "cheap"])
@pytest.mark.parametrize("payload", [LLM, TASK], ids=["llm", "task"])
async def test_either_type_may_be_committed_to_either_tier(
    api: Api, tier: str, payload: dict[str, Any]
) -> None:
    reply = await api.post(f"/v1/jobs/commit/{tier}", order(payload))
    assert (reply.status, list(reply.body)) == (201, ["job_id"])
    job_id = reply.body["job_id"]
    assert str(UUID(job_id)) == job_id
    job = await api.node.job(job_id)
    assert list(job.items()) == [
        ("id", job_id),
        ("status", "pending"),
        ("result", None),
        ("receipt", None),
        ("created_at", "2026-02-09T12:00:00.000Z"),
        ("completed_at", None),
    ]


@pytest.mark.parametrize("name", ["job_type", "payload", "user_id"])
async def test_a_missing_field(api: Api, name: str) -> None:
    reply = await api.commit(without(order(TASK), name))
    assert (reply.status, reply.body) == (
        400,
        {"error": MISSING, "code": "invalid", "detail": f"{name} is missing or empty"},
    )


@pytest.mark.parametrize("value", ["embed", "task", "TASK ", "", *NOT_STRINGS])
async def test_a_job_type_that_is_none(api: Api, value: object) -> None:
    (await api.commit(order(TASK, job_type=value))).refuses(400, "job_type")


@pytest.mark.parametrize("value", ["", "a\nb", "a\0", "x" * 257, *NOT_STRINGS])
async def test_a_user_id_that_is_none(api: Api, value: object) -> None:
    (await api.commit(order(TASK, user_id=value))).refuses(400, "user_id")


@pytest.mark.parametrize("value", [None, "x", 7, True, [], [TASK], json.dumps(TASK)])
async def test_a_payload_that_is_no_object(api: Api, value: object) -> None:
    (await api.commit(order(TASK) | {"payload": value})).refuses(400, "payload")


@pytest.mark.parametrize("value", ["", "private", "Public", "SECRET", "PUBLIC ", *NOT_STRINGS])
async def test_a_privacy_class_that_is_none_is_never_public(api: Api, value: object) -> None:
    (await api.commit(order(TASK, privacy_class=value))).refuses(400, "privacy_class")


async def test_without_privacy_class_a_job_is_public(api: Api) -> None:
    assert "privacy_class" not in order(TASK)
    assert (await api.commit(order(TASK))).status == 201
    assert (await api.commit(order(TASK, privacy_class="PUBLIC"))).status == 201


@pytest.mark.parametrize("payload", [LLM, TASK], ids=["llm", "task"])
@pytest.mark.parametrize("value", ["EMBED", "task", "", *NOT_STRINGS])
async def test_an_inner_job_type_that_is_none(
    api: Api, payload: dict[str, Any], value: object
) -> None:
    body = order(payload) | {"payload": payload | {"job_type": value}}
    (await api.commit(body)).refuses(400, "payload.job_type")


async def test_an_inner_job_type_that_is_missing(api: Api) -> None:
    body = order(TASK) | {"payload": without(TASK, "job_type")}
    (await api.commit(body)).refuses(400, "payload.job_type")


@pytest.mark.parametrize(("outer", "inner"), [("TASK", LLM), ("LLM_INFER", TASK)])
async def test_an_inner_job_type_that_differs(api: Api, outer: str, inner: dict[str, Any]) -> None:
    both = {"prompt": "x", "task_type": "classify", "input": "x"} | inner
    body = {"job_type": outer, "user_id": USER, "payload": both}
    (await api.commit(body)).refuses(400, "payload.job_type")


@pytest.mark.parametrize("value", ["", *NOT_STRINGS])
async def test_a_prompt_that_is_none(api: Api, value: object) -> None:
    (await api.commit(order(LLM | {"prompt": value}))).refuses(400, "payload.prompt")


@pytest.mark.parametrize("value", ["", *NOT_STRINGS])
async def test_an_input_that_is_none(api: Api, value: object) -> None:
    (await api.commit(order(TASK | {"input": value}))).refuses(400, "payload.input")


@pytest.mark.parametrize("value", ["", "translate", "Classify", "CLASSIFY", *NOT_STRINGS])
async def test_a_task_type_that_is_none(api: Api, value: object) -> None:
    (await api.commit(order(TASK | {"task_type": value}))).refuses(400, "payload.task_type")


@pytest.mark.parametrize(
    ("payload", "name"), [(LLM, "prompt"), (TASK, "input"), (TASK, "task_type")]
)
async def test_a_payload_with_a_field_missing(api: Api, payload: dict[str, Any], name: str) -> None:
    (await api.commit(order(without(payload, name)))).refuses(400, f"payload.{name}")


@pytest.mark.parametrize(
    "text",
    ["-1", "0", "-0.0", "0.5", "1.5", "1000001", "1e7", "1e400", "-1e400", "1e999999999",
     "9223372036854775808", "1" + "0" * 400, "true", "false", '"256"', '""', "[256]", "{}"],
)  # fmt: skip
async def test_max_tokens_that_is_no_whole_number_in_range(api: Api, text: str) -> None:
    body = json.dumps(order(LLM | {"max_tokens": "?"})).replace('"?"', text)
    reply = await api.ask("POST", COMMIT, body.encode(), JSON_TYPE)
    reply.refuses(400, "max_tokens")


@pytest.mark.parametrize("text", ["1", "256", "1000000", "256.0", "1e3", "1E6"])
async def test_max_tokens_that_is_a_whole_number(api: Api, text: str) -> None:
    body = json.dumps(order(LLM | {"max_tokens": "?"})).replace('"?"', text)
    assert (await api.ask("POST", COMMIT, body.encode(), JSON_TYPE)).status == 201


async def test_max_tokens_may_be_left_out(api: Api) -> None:
    assert "max_tokens" not in LLM
    assert (await api.commit(order(LLM))).status == 201


async def test_unknown_fields_are_ignored(api: Api) -> None:
    body = order(TASK | {"colour": {"red": [1, None]}}, priority="high", max_tokens=-1)
    assert (await api.commit(body)).status == 201


@pytest.mark.parametrize("text", ["ünï \U0001f680", "\u2028", "x" * 100_000])
async def test_any_text_may_be_a_prompt(api: Api, text: str) -> None:
    assert (await api.commit(order(LLM | {"prompt": text}))).status == 201


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"hello", b"{'a': 1}", b'{"a":1,}', b'{"a":NaN}', b"[1] [2]", b"{} x",
     b'{"user_id": "\x01"}', b'{"a": 01}'],
)  # fmt: skip
async def test_a_body_that_is_not_json(api: Api, body: bytes) -> None:
    (await api.ask("POST", COMMIT, body, JSON_TYPE)).refuses(400, "JSON")


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"text"', b"true", b"[{}]"])
async def test_a_body_that_is_no_object(api: Api, body: bytes) -> None:
    (await api.ask("POST", COMMIT, body, JSON_TYPE)).refuses(400, "object")


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", "ü".encode("latin-1")])
async def test_a_body_that_is_not_utf_8(api: Api, text: bytes) -> None:
    body = json.dumps(order(LLM | {"prompt": "?"})).encode().replace(b"?", text)
    (await api.ask("POST", COMMIT, body, JSON_TYPE)).refuses(400, "UTF-8")


@pytest.mark.parametrize("half", [r"\ud83d", r"\ude80", r"\ude80\ud83d", r"\uD83D x"])
@pytest.mark.parametrize("where", ["user_id", "prompt", "unknown"])
async def test_half_of_a_surrogate_pair_is_no_text(api: Api, half: str, where: str) -> None:
    payload = LLM | ({"prompt": "?"} if where == "prompt" else {})
    body = order(payload, **({} if where == "prompt" else {where: "?"}))
    text = json.dumps(body).replace('"?"', f'"{half}"')
    reply = await api.ask("POST", COMMIT, text.encode(), JSON_TYPE)
    reply.refuses(400, "surrogate")


async def test_a_whole_surrogate_pair_is_text(api: Api) -> None:
    text = json.dumps(order(LLM | {"prompt": "\U0001f680"}))
    assert r"\ud83d\ude80" in text
    assert (await api.ask("POST", COMMIT, text.encode(), JSON_TYPE)).status == 201


@pytest.mark.parametrize("where", ["outside", "payload", "prompt"])
async def test_deep_nesting_is_refused_and_not_followed(api: Api, where: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    body = {
        "outside": json.dumps(order(TASK, extra="?")).replace('"?"', deep),
        "payload": json.dumps(order(TASK | {"extra": "?"})).replace('"?"', deep),
        "prompt": json.dumps(order(LLM | {"prompt": "?"})).replace('"?"', deep),
    }[where]
    reply = await api.ask("POST", COMMIT, body.encode(), JSON_TYPE)
    reply.refuses(400)
    assert (await api.get("/v1/health")).status == 200


async def test_a_field_given_twice_counts_once_or_not_at_all(api: Api) -> None:
    """What was checked is what is stored: a second value must not slip past the check."""
    text = json.dumps(order(TASK))[:-1] + ', "privacy_class": "PRIVATE", "privacy_class": "X"}'
    (await api.ask("POST", COMMIT, text.encode(), JSON_TYPE)).refuses(400, "privacy_class")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'application/json; charset="UTF-8"',
        "APPLICATION/JSON;charset=Utf-8",
        "application/vnd.dispatch+json",
    ],
)
async def test_a_content_type_that_is_json(api: Api, content_type: str) -> None:
    body = json.dumps(order(TASK)).encode()
    assert (await api.ask("POST", COMMIT, body, {"Content-Type": content_type})).status == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json; charset=no-such-charset",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/json-ish",
        "application/octet-stream",
        "json",
        "",
    ],
)
@pytest.mark.parametrize("path", [COMMIT, "/v1/trust/create", "/v1/trust/claim"])
async def test_a_content_type_that_is_not_json(api: Api, path: str, content_type: str) -> None:
    body = json.dumps(order(TASK)).encode()
    reply = await api.ask("POST", path, body, {"Content-Type": content_type})
    assert reply.status == 415, reply


async def test_a_body_of_no_content_type(api: Api) -> None:
    body = json.dumps(order(TASK)).encode()
    async with api.node.http.post(
        f"{api.node.url}{COMMIT}", data=body, skip_auto_headers=["Content-Type"]
    ) as reply:
        assert reply.status == 415
        assert "Content-Type" in (await reply.json())["error"]


@pytest.mark.parametrize("path", [COMMIT, "/v1/trust/create", "/v1/trust/claim"])
async def test_a_body_over_the_limit(api: Api, path: str) -> None:
    limit = Limits().body_bytes_max
    assert limit == 1024 * 1024
    body = json.dumps(order(LLM | {"prompt": "x" * limit})).encode()
    reply = await api.ask("POST", path, body, JSON_TYPE)
    assert reply.status == 413, reply


async def test_a_body_of_just_the_limit(api: Api) -> None:
    body = json.dumps(order(LLM | {"prompt": "?"})).encode()
    filler = b"x" * (Limits().body_bytes_max - len(body) + 1)
    whole = body.replace(b"?", filler)
    assert len(whole) == Limits().body_bytes_max
    assert (await api.ask("POST", COMMIT, whole, JSON_TYPE)).status == 201
    (await api.ask("POST", COMMIT, whole + b" ", JSON_TYPE)).refuses(413)


async def test_a_private_job_that_nobody_may_do(api: Api) -> None:
    reply = await api.commit(order(TASK, privacy_class="PRIVATE"))
    assert (reply.status, list(reply.body)) == (422, ["error", "code", "hint", "job_id"])
    assert reply.body["error"] == "no_trusted_worker"
    job = await api.node.job(reply.body["job_id"])
    assert (job["status"], job["result"]) == ("failed", {"error": "no_trusted_worker"})
    assert (job["receipt"], job["completed_at"]) == (None, None)


async def test_a_job_that_is_not_there(api: Api) -> None:
    for name in ("a1b2c3d4-e5f6-7890-abcd-ef1234567890", "x", "%00", "%ff", "%2F", "commit"):
        reply = await api.get(f"/v1/jobs/{name}")
        assert (reply.status, reply.body) == (
            404,
            {"error": "Job not found", "code": "not_found"},
        ), name


async def test_a_job_is_found_by_its_id_in_upper_case(api: Api) -> None:
    job_id = await api.node.commit(TASK)
    assert (await api.get(f"/v1/jobs/{job_id.upper()}")).body["id"] == job_id


SUMMARIZE = TASK | {"task_type": "summarize"}
EXTRACT = TASK | {"task_type": "extract_json"}


@pytest.mark.parametrize("value", [0, 19, 10_001, -1, 1.5, "200", True, [200]])
async def test_a_max_length_that_is_none(api: Api, value: object) -> None:
    (await api.commit(order(SUMMARIZE | {"max_length": value}))).refuses(400, "payload.max_length")


@pytest.mark.parametrize("value", ["", "best", "Abstractive", 7, True, ["abstractive"]])
async def test_a_mode_that_is_none(api: Api, value: object) -> None:
    (await api.commit(order(SUMMARIZE | {"mode": value}))).refuses(400, "payload.mode")


@pytest.mark.parametrize("value", ["object", 7, True, [{}]])
async def test_a_schema_that_is_no_object(api: Api, value: object) -> None:
    (await api.commit(order(EXTRACT | {"schema": value}))).refuses(400, "payload.schema")


@pytest.mark.parametrize(
    "payload",
    [SUMMARIZE | {"max_length": 20, "mode": "extractive"}, EXTRACT | {"schema": {"type": "x"}}],
    ids=["summarize", "extract_json"],
)
async def test_options_of_a_task_are_taken(api: Api, payload: dict[str, Any]) -> None:
    assert (await api.commit(order(payload))).status == 201
