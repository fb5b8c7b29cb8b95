"""Error replies as servers send them, and what each means for the job."""

import json

import pytest

from dispatchd.worker.backend.failure import BackendFailed, Trouble, error_in, failure_of

SENT = ("model", "messages", "stream", "stop", "max_tokens", "top_k", "repeat_penalty")
OLD_VLLM = (
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4900"
    " in the messages, 100 in the completion). Please reduce the length of the messages."
)
TOO_MANY_ASKED = (
    "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context"
    " length is 4096 tokens and your request has 10 input tokens (5000 > 4096 - 10)."
)
LLAMA_CPP = "request (9412 tokens) exceeds the available context size (8192 tokens), try it"
LOCKED_OUT = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}


def failure(status: int, body: object) -> BackendFailed:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return failure_of(status, error_in(text), SENT, retry_seconds=3)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"object": "error", "message": OLD_VLLM, "type": "BadRequestError", "code": 400}),
        (400, {"error": {"message": TOO_MANY_ASKED, "param": "max_tokens", "code": 400}}),
        (400, {"error": {"message": "longer than the maximum model length of 4096", "code": 400}}),
        (400, {"message": "max_tokens must be at least 1, got -186.", "object": "error"}),
        (400, {"error": {"message": LLAMA_CPP, "type": "exceed_context_size_error", "code": 400}}),
        (500, {"error": {"message": "", "type": "exceed_context_size_error", "code": 500}}),
        (400, {"error": {"message": "", "code": "context_length_exceeded", "param": "messages"}}),
        (400, {"error": {"message": "the input length exceeds the context length"}}),
        (422, {"error": "`inputs tokens + max_new_tokens` must be <= 4096"}),
    ],
)
def test_a_prompt_that_is_too_long(status: int, body: object) -> None:
    found = failure(status, body)
    assert (found.reason, found.final) == ("prompt_too_long", True)


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (400, {"error": {"message": "Unrecognized request argument: top_k"}}, "top_k"),
        (400, {"error": {"message": "Unsupported", "param": "stop"}}, "stop"),
        (422, {"detail": [{"loc": ["body", "repeat_penalty"], "type": "extra"}]}, "repeat_penalty"),
    ],
)
def test_a_field_that_a_server_does_not_take_is_named(
    status: int, body: object, named: str
) -> None:
    found = failure(status, body)
    assert (found.reason, found.final) == (f"unsupported_parameter: {named}", True)


@pytest.mark.parametrize(
    ("status", "body", "trouble", "final"),
    [
        (400, {"error": {"message": "stop it, says the prompt"}}, Trouble.REJECTED, True),
        (400, b"not JSON", Trouble.REJECTED, True),
        (413, b"", Trouble.REJECTED, True),
        (401, {"error": LOCKED_OUT}, Trouble.KEY, False),
        (401, {"error": "Unauthorized"}, Trouble.KEY, False),
        (403, b"", Trouble.KEY, False),
        (404, {"error": {"message": "The model `m` does not exist."}}, Trouble.MISSING, False),
        (429, {"error": {"message": "slow down"}}, Trouble.BUSY, False),
        (503, {"error": {"message": "Loading model", "code": 503}}, Trouble.BUSY, False),
        (408, b"", Trouble.BROKEN, False),
        (409, {"error": {"message": "The job was cancelled"}}, Trouble.BROKEN, False),
        (502, b"<html>", Trouble.AWAY, False),
        (504, b"<html>", Trouble.AWAY, False),
        (500, {"error": {"message": "maximum context length"}}, Trouble.BROKEN, False),
        (500, b"[" * 100_000, Trouble.BROKEN, False),
        (307, b"", Trouble.BROKEN, False),
    ],
)
def test_other_errors(status: int, body: object, trouble: Trouble, *, final: bool) -> None:
    found = failure(status, body)
    assert (found.trouble, found.final) == (trouble, final)
    assert found.reason == f"{trouble.value}: it answers {status}"
    assert found.retry_seconds == 3
