"""The OpenAPI document: it is valid, has every route, and tells the truth about replies."""

import io
import json
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from dispatchd.api.app import Edge
from dispatchd.api.errors import STATUS
from dispatchd.api.openapi import document, error_codes, openai_codes
from dispatchd.core.limits import Limits
from dispatchd.core.network import MONAD
from tests.support.node import USER, Node

DOCUMENT = document(MONAD)
TASK = {"job_type": "TASK", "task_type": "classify", "input": "It works well."}
BAD_COMMIT = {"user_id": USER, "payload": TASK}


def is_valid(value: object, schema: dict[str, Any]) -> bool:
    whole = schema | {"components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole).is_valid(value)


def reply_schema(method: str, path: str, status: int) -> dict[str, Any]:
    reply = DOCUMENT["paths"][path][method]["responses"][str(status)]
    return dict(reply["content"]["application/json"]["schema"])


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


async def test_the_document_has_every_route_and_no_other(node: Node) -> None:
    parts = node.parts
    edge = Edge(
        *(parts.coordinator, parts.admission, parts.work, parts.chain),
        *(MONAD, node.clock, Limits()),
    )
    routes = {
        (route.resource.canonical, route.method.lower())
        for route in edge._app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {(path, method) for path, each in DOCUMENT["paths"].items() for method in each}
    assert described == routes


async def test_the_document_is_served(node: Node) -> None:
    async with node.http.get(f"{node.url}/openapi.json") as reply:
        assert (reply.status, reply.content_type) == (200, "application/json")
        assert json.loads(await reply.text()) == json.loads(json.dumps(DOCUMENT))


COMMIT: dict[str, Any] = {"$ref": "#/components/schemas/Commit"}


@pytest.mark.parametrize(
    ("payload", "valid"),
    [
        (TASK, True),
        (TASK | {"colour": "red"}, True),
        (TASK | {"input": ""}, False),
        (TASK | {"task_type": "x"}, False),
        (TASK | {"job_type": "LLM_INFER", "prompt": "x"}, False),
    ],
)
async def test_a_body_is_valid_where_the_node_takes_it(
    node: Node, payload: dict[str, Any], valid: bool
) -> None:
    await agree(node, {"job_type": "TASK", "user_id": USER, "payload": payload}, valid)


LLM = {"job_type": "LLM_INFER"}


@pytest.mark.parametrize(
    ("fields", "valid"),
    [
        ({"prompt": "x"}, True),
        ({"prompt": "x", "max_tokens": 256.0, "stop": ["a"]}, True),
        ({"messages": [{"role": "user", "content": "x"}]}, True),
        ({}, False),
        ({"prompt": None}, False),
        ({"prompt": "x", "max_tokens": 0}, False),
        ({"prompt": "x", "max_tokens": 1.5}, False),
        ({"prompt": "x", "top_p": 0}, False),
        ({"messages": []}, False),
    ],
)
async def test_an_llm_body_is_valid_where_the_node_takes_it(
    node: Node, fields: dict[str, Any], valid: bool
) -> None:
    await agree(node, {"job_type": "LLM_INFER", "user_id": USER, "payload": LLM | fields}, valid)


@pytest.mark.parametrize(
    ("user_id", "valid"),
    [("u", True), ("ü" * 256, True), ("", False), ("a\nb", False), ("a\n", False)],
)
async def test_a_user_id_is_valid_where_the_node_takes_it(
    node: Node, user_id: str, valid: bool
) -> None:
    await agree(node, {"job_type": "TASK", "user_id": user_id, "payload": TASK}, valid)


async def agree(node: Node, body: dict[str, Any], valid: bool) -> None:
    async with node.http.post(f"{node.url}/v1/jobs/commit/fast", json=body) as reply:
        answer = await reply.json()
        assert (reply.status == 201) is valid, answer
        assert is_valid(answer, reply_schema("post", "/v1/jobs/commit/fast", reply.status))
    assert is_valid(body, COMMIT) is valid


async def test_replies_are_as_described(node: Node) -> None:
    job_id = await node.commit(TASK)
    for method, path, status in (
        ("get", "/v1/jobs/{id}", 200),
        ("get", "/v1/jobs/{id}/explain", 200),
        ("get", "/v1/jobs", 200),
        ("delete", "/v1/jobs/{id}", 200),
        ("get", "/v1/jobs/{id}/explain", 200),
        ("get", "/v1/jobs/{id}", 200),
        ("get", "/v1/workers", 200),
        ("get", "/", 200),
    ):
        url = node.url + path.replace("{id}", job_id)
        async with node.http.request(method, url) as reply:
            answer = json.loads(await reply.text())
            assert reply.status == status
            assert is_valid(answer, reply_schema(method, path, status)), (path, answer)


def test_every_code_is_listed_once() -> None:
    codes = [code for code, *_ in error_codes()]
    assert len(codes) == len(set(codes))
    assert set(codes) >= STATUS.keys()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "not_found"),
        ("PUT", "/v1/quote", None, 405, "method_not_allowed"),
        ("POST", "/v1/trust/create", {"user_id": "x" * 2**20}, 413, "too_large"),
        ("POST", "/v1/jobs/commit/fast", BAD_COMMIT, 400, "invalid"),
        ("POST", "/v1/trust/claim", {"pairing_code": "", "provider_pubkey": "a" * 64}, 400,
         "pairing_refused"),
    ],
)  # fmt: skip
async def test_errors_have_a_code(
    node: Node, method: str, path: str, body: object, status: int, code: str
) -> None:
    content = io.BytesIO(json.dumps(body).encode())
    headers = {"Content-Type": "application/json"}
    url = node.url + path
    async with node.http.request(method, url, data=content, headers=headers) as reply:
        answer = await reply.json()
        assert (reply.status, answer["code"]) == (status, code)
        assert is_valid(answer, {"$ref": "#/components/schemas/Error"})


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/completions", {"prompt": 1}, 400, "invalid_value"),
        ("/v1/completions", {"prompt": ["a", "b"]}, 400, "unsupported_parameter"),
        ("/v1/completions", [], 400, "invalid"),
        ("/v1/completions", {"prompt": "x", "model": "gpt-9"}, 503, "no_eligible_worker"),
        ("/v1/chat/completions", {"messages": [], "user": "x" * 2**20}, 413, "too_large"),
    ],
)
async def test_errors_of_openais_shape_are_as_described(
    node: Node, path: str, body: object, status: int, code: str
) -> None:
    content = io.BytesIO(json.dumps(body).encode())
    headers = {"Content-Type": "application/json"}
    async with node.http.post(node.url + path, data=content, headers=headers) as reply:
        answer = await reply.json()
    assert (reply.status, answer["error"]["code"]) == (status, code)
    assert is_valid(answer, reply_schema("post", path, status))
    described = DOCUMENT["paths"][path]["post"]["responses"][str(status)]["description"]
    assert code in described.split(", ")


def test_errors_of_openais_shape_are_told_apart() -> None:
    replies = DOCUMENT["paths"]["/v1/chat/completions"]["post"]["responses"]
    told = [name for reply in replies.values() for name in reply["description"].split(", ")]
    assert set(told) >= {code for code, *_ in openai_codes()}
    assert replies["409"]["description"] == "cancelled"
    assert not {"417", "422"} & replies.keys()
    model = DOCUMENT["paths"]["/v1/models/{id}"]["get"]["responses"]
    assert model["503"]["description"] == "no_eligible_worker"


@pytest.mark.parametrize(
    ("prompt", "valid"),
    [("x", True), (["x"], True), ([], False), (["a", "b"], False), ([1], False), ([""], False)],
)
async def test_a_prompt_is_valid_where_the_node_takes_it(
    node: Node, prompt: object, valid: bool
) -> None:
    body = {"prompt": prompt, "model": "m"}
    assert is_valid(body, {"$ref": "#/components/schemas/TextCall"}) is valid
    async with node.http.post(f"{node.url}/v1/completions", json=body) as reply:
        assert reply.status == (503 if valid else 400)  # nobody is there to do it


async def test_missing_fields_are_named(node: Node) -> None:
    async with node.http.post(f"{node.url}/v1/jobs/commit/fast", json={"payload": TASK}) as reply:
        answer = await reply.json()
    assert answer["error"] == "Missing required fields: job_type, payload, user_id"
    assert answer["detail"] == "job_type, user_id are missing or empty"
