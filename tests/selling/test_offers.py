"""What is answered to those who have not paid, and to those whose payment is not good."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dispatchd.core.job import JobFilter
from dispatchd.core.limits import Limits
from tests.payment.paying import changed, packed, unpacked
from tests.selling.buying import ALICE, FAST, TASK, Market, order
from tests.selling.conftest import MONAD, selling
from tests.selling.desk import AWAY, Desk
from tests.support.clock import FakeClock

LLM = {"job_type": "LLM_INFER", "prompt": "Hi"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
EVM = "invalid_exact_evm_payload_"
CHEAP = "/v1/jobs/commit/cheap"


def offer_in(headers: Any) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(headers["PAYMENT-REQUIRED"], validate=True)))


@pytest.mark.parametrize(
    ("path", "body", "price", "amount", "what"),
    [
        (FAST, order(), "$0.003", "3000", "Fast compute job"),
        (CHEAP, order(), "$0.001", "1000", "Cheap compute job"),
        (FAST, order(job_type="LLM_INFER", payload=LLM), "$0.010", "10000", "Fast compute job"),
        (CHEAP, order(job_type="LLM_INFER", payload=LLM), "$0.005", "5000", "Cheap compute job"),
        ("/v1/chat/completions", CHAT, "$0.010", "10000", "Fast compute job"),
        ("/v1/completions", {"prompt": "Hi"}, "$0.010", "10000", "Fast compute job"),
    ],
)
async def test_an_unpaid_request_gets_one_offer_for_everybody(
    market: Market, path: str, body: Any, price: str, amount: str, what: str
) -> None:
    asked = await market.post(path, body)
    assert asked.status == 402
    assert asked.headers["Cache-Control"] == "no-store"
    exposed = asked.headers["Access-Control-Expose-Headers"]
    assert {"PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"} <= set(
        exposed.split(", ")
    )
    assert "PAYMENT-RESPONSE" not in asked.headers
    (accepted,) = asked.body["accepts"]
    assert asked.body["error"] == "X-PAYMENT header is required"
    assert asked.body["charged"] is False
    old = {"scheme": "exact", "price": price, "network": "eip155:10143", "amount": amount}
    assert accepted.items() >= (old | {"maxAmountRequired": amount, "description": what}).items()
    assert accepted["resource"] == market.node.url + path
    new = offer_in(asked.headers)
    assert (new["x402Version"], new["error"]) == (2, "Payment required")
    assert new["resource"]["url"] == market.node.url + path
    assert new["accepts"][0]["amount"] == amount
    assert market.rows() == []
    assert await market.node.parts.coordinator.list_jobs(JobFilter()) == []


async def test_old_clients_get_old_names_of_networks(market: Market) -> None:
    asked = await market.post(headers={"X-402-Version": "1"})
    assert asked.body["accepts"][0]["network"] == "monad-testnet"
    assert offer_in(asked.headers)["accepts"][0]["network"] == "eip155:10143"


async def test_a_node_may_always_use_old_names(tmp_path: Path, clock: FakeClock) -> None:
    config = replace(MONAD, legacy_names=True)
    async with selling(tmp_path, clock, config=config) as market:
        assert (await market.post()).body["accepts"][0]["network"] == "monad-testnet"
        headers = await market.signed(version=1)
        assert (await market.post(headers=headers)).status == 201


@pytest.mark.parametrize(
    ("believed", "begins"), [(True, "https://api.example"), (False, "http://127")]
)
async def test_a_proxy_is_believed_only_where_there_is_one(
    tmp_path: Path, clock: FakeClock, *, believed: bool, begins: str
) -> None:
    said = {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "api.example"}
    async with selling(tmp_path, clock, config=replace(MONAD, behind_proxy=believed)) as market:
        asked = await market.post(headers=said)
    assert asked.body["accepts"][0]["resource"].startswith(begins)


async def test_what_cannot_be_priced_or_run_is_told_before_the_offer(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with selling(tmp_path, clock, limits=Limits(queue_jobs_max=1)) as market:
        bad = await market.post(body=order(payload=TASK | {"task_type": "dance"}))
        assert (bad.status, bad.body["charged"]) == (400, False)
        private = await market.post(body=order(privacy_class="PRIVATE"))
        assert (private.status, private.body["error"]) == (422, "no_trusted_worker")
        assert private.body["charged"] is False
        headers = await market.signed()
        await market.buy()
        for paid in (None, headers):
            full = await market.post(headers=paid)
            assert (full.status, full.body["charged"]) == (429, False)
            assert "Retry-After" in full.headers
        assert len(market.rows()) == 1


@pytest.mark.parametrize("status", [400, 422])
async def test_a_payment_for_what_cannot_run_may_be_used_again(market: Market, status: int) -> None:
    headers = await market.signed()
    wrong = order(payload={}) if status == 400 else order(privacy_class="PRIVATE")
    refused = await market.post(body=wrong, headers=headers)
    assert (refused.status, refused.body["charged"]) == (status, False)
    assert (await market.post(headers=headers)).status == 201


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("accepted.network", "eip155:1", "invalid_network"),
        ("accepted.scheme", "upto", "invalid_scheme"),
        ("accepted.amount", "1", "invalid_payment_requirements"),
        ("x402Version", 3, "invalid_x402_version"),
        ("payload.authorization", ..., "invalid_payload"),
        ("payload.authorization.value", "2999", f"{EVM}authorization_value_mismatch"),
        ("payload.authorization.to", ALICE.address, f"{EVM}recipient_mismatch"),
        ("payload.authorization.nonce", "0x" + "ab" * 32, f"{EVM}signature"),
        ("payload.authorization.validBefore", "1", f"{EVM}authorization_valid_before"),
    ],
)  # fmt: skip
async def test_a_refused_payment_gets_the_reason_and_a_fresh_offer(
    market: Market, path: str, value: Any, reason: str
) -> None:
    ((header, good),) = (await market.signed()).items()
    refused = await market.post(headers={header: packed(changed(unpacked(good), path, value))})
    assert (refused.status, refused.body["error"], refused.body["charged"]) == (402, reason, False)
    assert refused.body["detail"]
    assert offer_in(refused.headers)["error"] == reason
    assert refused.body["accepts"] == (await market.post()).body["accepts"]
    for name in ("PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"):
        said = unpacked(refused.headers[name])
        assert (said["success"], said["errorReason"]) == (False, reason)
    assert market.rows() == []
    assert (await market.post(headers={header: good})).status == 201


async def test_what_the_facilitator_refuses(market: Market, desk: Desk) -> None:
    headers = await market.signed()
    desk.verifying = ["insufficient_funds"]
    refused = await market.post(headers=headers)
    assert (refused.status, refused.body["error"]) == (402, "insufficient_funds")
    assert refused.body["detail"] == "as scripted"
    assert market.rows() == []


async def test_a_facilitator_that_is_away_never_makes_clients_sign_again(
    market: Market, desk: Desk
) -> None:
    headers = await market.signed()
    desk.verifying = [AWAY]
    away = await market.post(headers=headers)
    assert (away.status, away.body["code"]) == (503, "facilitator_unavailable")
    assert away.body["charged"] is False
    assert int(away.headers["Retry-After"]) > 0
    assert (await market.post(headers=headers)).status == 201


async def test_an_authorization_must_last_for_the_whole_job(market: Market) -> None:
    ((header, good),) = (await market.signed()).items()
    market.node.clock.advance(301)  # the offer says 1,200 s, and 900 s must be left
    refused = await market.post(headers={header: good})
    assert refused.body["error"] == "invalid_exact_evm_payload_authorization_valid_before"


async def test_a_payer_has_only_so_many_payments_open(market: Market) -> None:
    for _ in range(4):
        await market.buy()
    headers = await market.signed()
    fifth = await market.post(headers=headers)
    assert (fifth.status, fifth.body["error"]) == (429, "too_many_open_payments")
    assert (fifth.body["charged"], "Retry-After" in fifth.headers) == (False, True)
    assert len(market.rows()) == 4


async def test_health_says_that_the_facilitator_is_away(
    tmp_path: Path, clock: FakeClock, desk: Desk
) -> None:
    desk.down = True
    async with selling(tmp_path, clock, desk) as market:
        health = f"{market.node.url}/v1/health"
        async with market.node.http.get(health) as reply:
            said = await reply.json()
        assert (said["status"], said["problems"]) == (
            "degraded",
            ["The facilitator cannot be reached."],
        )
        desk.down = False
        clock.advance(30)
        await market.post()
        async with market.node.http.get(health) as reply:
            assert (await reply.json())["status"] == "ok"


async def test_a_look_that_breaks_ends_nothing(
    tmp_path: Path, clock: FakeClock, desk: Desk
) -> None:
    desk.broken = RuntimeError("a bug")
    async with selling(tmp_path, clock, desk) as market:
        await market.post()
        assert "broke" in market.node.parts.coordinator.problems[0]
        desk.broken = None
        clock.advance(30)
        await market.post()
        assert market.node.parts.coordinator.problems == []


async def test_pages_of_other_sites_may_pay(market: Market) -> None:
    url, asking = market.node.url + FAST, {"Origin": "https://app.example"}
    async with market.node.http.options(url, headers=asking) as reply:
        assert reply.status == 204
        allowed = set(reply.headers["Access-Control-Allow-Headers"].split(", "))
        assert {"PAYMENT-SIGNATURE", "X-PAYMENT", "Content-Type", "Idempotency-Key"} <= allowed
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert (await market.post(headers=asking)).headers["Access-Control-Allow-Origin"] == "*"
