"""The OpenAPI 3.1 document, made from the types that parse the requests."""

from typing import Any

import msgspec

from dispatchd import __version__
from dispatchd.api.errors import HINTS, INTERNAL, SERVER_CODES, STATUS
from dispatchd.api.openai_errors import CODES, SHARED_CODES, hint_of
from dispatchd.api.openapi_operations import OPERATIONS, Operation, Parameter
from dispatchd.api.openapi_shapes import OpenAiError, PaymentWanted
from dispatchd.api.schema import LlmPayload, TaskPayload
from dispatchd.core.errors import DispatchError
from dispatchd.core.network import Network

_REF = "#/components/schemas/{name}"
_RETRIED = (429, 503)
_PAYMENT_REQUIRED = "402"
_INTERNAL = 500
_UNAUTHORIZED = 401
_API_KEY = "apiKey"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A user's API key. Who has none needs none, unless the node demands one.",
}
_CHALLENGE = {"description": "Always `Bearer`.", "schema": {"type": "string"}}
_RETRY_AFTER = {
    "description": "Seconds after which to try again.",
    "schema": {"type": "integer", "minimum": 1},
}

Json = dict[str, Any]


def document(network: Network) -> Json:
    """The whole document."""
    shapes = dict(zip(_kinds(), _schemas()[0], strict=True))
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        described = _operation(operation, shapes)
        paths.setdefault(operation.path, {})[operation.method] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dispatchd",
            "version": __version__,
            "description": f"A node of the Dispatch compute network on {network.caip2}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(each.group for each in OPERATIONS)],
        "paths": paths,
        "components": {"schemas": _components(), "securitySchemes": {_API_KEY: _BEARER}},
    }


def error_codes() -> list[tuple[str, int, str, str]]:
    """Every code with its status, its meaning and its hint."""
    meanings = {kind.code: kind.__doc__ or "" for kind in DispatchError.__subclasses__()}
    rows = [
        (code, status, meanings[code].partition("\n")[0], HINTS.get(code, ""))
        for code, status in STATUS.items()
    ]
    rows += [
        (code, status, meaning, HINTS.get(code, ""))
        for code, (status, meaning) in SERVER_CODES.items()
        if code not in STATUS
    ]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def openai_codes() -> list[tuple[str, int, str, str]]:
    """The same for the routes that OpenAI's clients know."""
    rows = [(code, status, meaning, hint_of(code)) for code, status, meaning, _ in error_codes()]
    rows = [row for row in rows if row[0] in SHARED_CODES]
    rows += [(code, status, meaning, "") for code, (status, meaning) in CODES.items()]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def _kinds() -> list[Any]:
    """Every type that the routes speak of."""
    spoken: list[Any] = [LlmPayload, TaskPayload]
    for each in OPERATIONS:
        parameters = [parameter.shape for parameter in each.parameters]
        spoken += [each.body, each.reply, each.error, *parameters]
    spoken.append(PaymentWanted)
    return list(dict.fromkeys(kind for kind in spoken if isinstance(kind, type)))


def _schemas() -> tuple[tuple[Json, ...], dict[str, Json]]:
    schemas, components = msgspec.json.schema_components(_kinds(), ref_template=_REF)
    return tuple(schemas), components


def _components() -> dict[str, Json]:
    """The types' schemas, with what their own checks demand besides."""
    components = {name: _portable(schema) for name, schema in _schemas()[1].items()}
    llm, task, commit = (components[name] for name in ("LlmPayload", "TaskPayload", "Commit"))
    llm["properties"]["job_type"] = {"const": "LLM_INFER"}
    task["properties"]["job_type"] = {"const": "TASK"}
    llm["anyOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
        for name in ("prompt", "messages")
    ]
    commit["properties"]["payload"] = {"type": "object"}
    commit["oneOf"] = [
        {"properties": {"job_type": {"const": kind}, "payload": {"$ref": _REF.format(name=name)}}}
        for kind, name in (("LLM_INFER", "LlmPayload"), ("TASK", "TaskPayload"))
    ]
    components["Error"]["properties"]["code"] = {
        "type": "string",
        "enum": [code for code, *_ in error_codes()],
    }
    return components


def _portable(schema: Any) -> Any:
    r"""The schema with patterns as JavaScript reads them, where `\Z` is not the end."""
    if isinstance(schema, dict):
        return {
            name: " ".join(value.split())
            if name == "description" and isinstance(value, str)
            else _portable(value)
            for name, value in schema.items()
        }
    if isinstance(schema, list | tuple):
        return [_portable(each) for each in schema]
    return schema.removesuffix(r"\Z") + "$" if _ends_python(schema) else schema


def _ends_python(value: object) -> bool:
    return isinstance(value, str) and value.endswith(r"\Z")


def _operation(operation: Operation, shapes: dict[Any, Json]) -> Json:
    described: Json = {
        "operationId": f"{operation.method} {operation.path}",
        "tags": [operation.group],
        "summary": operation.summary,
        "parameters": [_parameter(each, shapes) for each in operation.parameters],
        "responses": _replies(operation, shapes),
    }
    if operation.about:
        described["description"] = operation.about
    if operation.keyed:
        described["security"] = [{}, {_API_KEY: []}]
    if operation.body is not None:
        content = {"application/json": {"schema": _shape(operation.body, shapes)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _parameter(parameter: Parameter, shapes: dict[Any, Json]) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.about,
        "schema": _shape(parameter.shape, shapes),
    }


def _replies(operation: Operation, shapes: dict[Any, Json]) -> Json:
    schema = _shape(operation.reply, shapes)
    good: Json = {
        "description": operation.summary,
        "content": {kind: {"schema": _of(kind, schema)} for kind in operation.media_types},
    }
    if operation.headers:
        good["headers"] = {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in operation.headers
        }
    error = _shape(operation.error, shapes)
    replies = {
        str(status): _error_reply(status, codes, error)
        for status, codes in _wrong(operation).items()
    }
    if operation.sold:
        replies[_PAYMENT_REQUIRED] = _payment_reply(shapes)
    return {str(operation.status): good, **dict(sorted(replies.items()))}


def _wrong(operation: Operation) -> dict[int, list[str]]:
    """The codes that an operation may end with, by status."""
    if operation.error is OpenAiError:
        rows = [row for row in openai_codes() if row[0] in {*operation.codes, INTERNAL}]
    else:
        rows = [row for row in error_codes() if row[1] in {*operation.errors, _INTERNAL}]
    return {
        wanted: [code for code, status, *_ in rows if status == wanted] for _, wanted, *_ in rows
    }


def _of(media_type: str, schema: Json) -> Json:
    """A reply's schema; the data of server-sent events may be anything."""
    by_type: dict[str, Json] = {"application/json": schema, "text/event-stream": {}}
    return by_type.get(media_type, {"type": "string"})


def _error_reply(status: int, codes: list[str], schema: Json) -> Json:
    reply: Json = {
        "description": ", ".join(codes),
        "content": {"application/json": {"schema": schema}},
    }
    if status == _UNAUTHORIZED:
        return reply | {"headers": {"WWW-Authenticate": _CHALLENGE}}
    return reply | ({"headers": {"Retry-After": _RETRY_AFTER}} if status in _RETRIED else {})


def _payment_reply(shapes: dict[Any, Json]) -> Json:
    offer = {"description": "The offer in version 2 of x402.", "schema": {"type": "string"}}
    return {
        "description": "Where jobs are sold: what to pay",
        "headers": {"PAYMENT-REQUIRED": offer},
        "content": {"application/json": {"schema": shapes[PaymentWanted]}},
    }


def _shape(shape: Any, shapes: dict[Any, Json]) -> Json:
    return shapes[shape] if isinstance(shape, type) else dict(shape)
