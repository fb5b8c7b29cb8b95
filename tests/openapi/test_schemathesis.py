"""schemathesis asks every route for what its description allows, and for what it forbids."""

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from dispatchd.api.openapi import document
from dispatchd.api.openapi_operations import OPERATIONS, TEXT, Operation
from dispatchd.core.job import JobType
from dispatchd.core.network import MONAD
from tests.support.executors import Instant
from tests.support.node import Node
from tests.support.ours import our_worker

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# What is well formed may still be refused here: a PRIVATE job without its worker, a wrong code,
# a model that nobody has, a pairing that there is not, a user that has a key.
PICKY = (
    *("/v1/jobs/commit/fast", "/v1/jobs/commit/cheap", "/v1/trust/claim"),
    *("/v1/chat/completions", "/v1/completions", "/v1/trust", "/v1/users"),
)
ENDLESS = "/v1/network/events"  # nobody can read it to the end; tests/page reads its beginning
ANSWER: dict[str, object] = {"text": "", "model": "m", "prompt_tokens": 1, "completion_tokens": 0}
EXAMPLES = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def can_be_wrong(operation: Operation) -> bool:
    return any(parameter.shape is not TEXT for parameter in operation.parameters)


CASES = [
    pytest.param(each, mode, id=f"{each.method} {each.path} {mode.value}")
    for each in OPERATIONS
    for mode in schemathesis.GenerationMode
    if each.path != ENDLESS
    if mode.is_positive or each.body or can_be_wrong(each)
]


@pytest.mark.parametrize(("operation", "mode"), CASES)
async def test_a_route_keeps_its_word(
    node: Node, operation: Operation, mode: schemathesis.GenerationMode
) -> None:
    described = schemathesis.openapi.from_dict(document(MONAD))[operation.path][operation.method]

    checks = CHECKS if operation.path in PICKY else [*CHECKS, positive_data_acceptance]

    @EXAMPLES
    @given(case=described.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(base_url=node.url, timeout=5)
        case.validate_response(response, checks=checks)

    async with our_worker(node.url, {JobType.LLM_INFER: Instant(ANSWER)}, models=("m",)):
        async with asyncio.timeout(10):
            while not len(node.parts.seats):
                await asyncio.sleep(0.002)
        await asyncio.to_thread(ask)
