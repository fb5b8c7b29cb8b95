"""Health and prices."""

import pytest

from dispatchd.core.network import MONAD
from tests.api.conftest import Api

PRICES = {
    ("LLM_INFER", "FAST"): "$0.010",
    ("LLM_INFER", "CHEAP"): "$0.005",
    ("TASK", "FAST"): "$0.003",
    ("TASK", "CHEAP"): "$0.001",
}
AUTO = {"LLM_INFER": "FAST", "TASK": "CHEAP"}


async def test_health(api: Api) -> None:
    reply = await api.get("/v1/health")
    assert reply.status == 200
    assert list(reply.body.items()) == [
        ("status", "ok"),
        ("workers_online", 0),
        ("network", MONAD.caip2),
        ("timestamp", "2026-02-09T12:00:00.000Z"),
    ]


async def test_health_takes_the_time_from_the_clock(api: Api) -> None:
    api.node.clock.advance(1.5)
    assert (await api.get("/v1/health")).body["timestamp"] == "2026-02-09T12:00:01.500Z"


@pytest.mark.parametrize("job_type", AUTO)
@pytest.mark.parametrize("policy", ["&policy=AUTO", "&policy=FAST", "&policy=CHEAP", ""])
async def test_quote(api: Api, job_type: str, policy: str) -> None:
    reply = await api.get(f"/v1/quote?job_type={job_type}{policy}")
    wanted = policy.removeprefix("&policy=")
    tier = AUTO[job_type] if wanted in ("", "AUTO") else wanted
    assert reply.status == 200
    assert list(reply.body.items()) == [
        ("price", PRICES[job_type, tier]),
        ("endpoint", f"/v1/jobs/commit/{tier.lower()}"),
        ("policy_resolved", tier),
        ("network", MONAD.caip2),
        ("expires_at", None),
    ]


async def test_a_quote_ignores_parameters_that_it_does_not_know(api: Api) -> None:
    assert (await api.get("/v1/quote?job_type=TASK&colour=red&colour=blue")).status == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?policy=AUTO",
        "?job_type=",
        "?job_type=llm_infer",
        "?job_type=Task",
        "?job_type=TASK%20",
        "?job_type=EMBED",
        "?job_type=%ff",
        "?job_type=%00",
        "?JOB_TYPE=TASK",
    ],
)
async def test_a_quote_needs_a_job_type(api: Api, query: str) -> None:
    reply = await api.get(f"/v1/quote{query}")
    assert (reply.status, reply.body) == (
        400,
        {"error": "Invalid job_type. Use LLM_INFER or TASK", "code": "invalid"},
    )


@pytest.mark.parametrize("policy", ["", "auto", "Fast", "CHEAPEST", "AUTO%20", "null"])
async def test_a_quote_refuses_other_policies(api: Api, policy: str) -> None:
    (await api.get(f"/v1/quote?job_type=TASK&policy={policy}")).refuses(400, "policy")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("job_type=TASK&job_type=TASK", "job_type"),
        ("job_type=TASK&job_type=LLM_INFER", "job_type"),
        ("job_type=TASK&policy=AUTO&policy=AUTO", "policy"),
        ("job_type=TASK&policy=&policy=FAST", "policy"),
    ],
)
async def test_a_quote_refuses_a_parameter_given_twice(api: Api, query: str, name: str) -> None:
    (await api.get(f"/v1/quote?{query}")).refuses(400, name)
