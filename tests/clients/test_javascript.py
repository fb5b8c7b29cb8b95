"""The published JavaScript clients of x402 buy from a node: `@x402/fetch`, and `x402-fetch`."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.goods import GOODS, PAYER, Reply, assert_bought, costs, key_of
from tests.support.market import Market

pytestmark = [
    pytest.mark.long,
    *(
        pytest.mark.skipif(shutil.which(program) is None, reason=f"needs program: {program}")
        for program in ("node", "npm")
    ),
]

TOTAL = sum(goods.price for goods in GOODS.values())
MONAD_USDC = "0x534b2f3A21130d7a60830c2Df862319e593943A3"


def replies(scripts: Path, script: str, market: Market, **more: Any) -> list[dict[str, Any]]:
    """What came of an order for each of the goods."""
    orders = [{"url": market.url + each.path, "body": each.body} for each in GOODS.values()]
    done = subprocess.run(
        ["node", script],
        cwd=scripts,
        input=json.dumps({"key": key_of(PAYER), "orders": orders} | more),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def assert_all_bought(market: Market, came: list[dict[str, Any]]) -> None:
    for goods, reply in zip(GOODS.values(), came, strict=True):
        assert "error" not in reply, reply
        assert_bought(market, goods, Reply(reply["status"], reply["headers"], reply["text"]))


def test_version_2_buys_with_a_token_that_it_does_not_know(scripts: Path, monad: Market) -> None:
    allowed = {"allowedAssets": [{"network": "eip155:10143", "asset": MONAD_USDC}]}
    with costs(monad, TOTAL):
        assert_all_bought(monad, replies(scripts, "pay_v2.mjs", monad, spendControls=allowed))


def test_version_2_must_be_told_of_such_a_token(scripts: Path, monad: Market) -> None:
    with costs(monad, 0):
        came = replies(scripts, "pay_v2.mjs", monad)
    assert all("Add an allowedAssets entry" in reply["error"] for reply in came), came


def test_version_2_buys_with_a_token_that_it_knows(scripts: Path, base: Market) -> None:
    with costs(base, TOTAL):
        assert_all_bought(base, replies(scripts, "pay_v2.mjs", base))


def test_version_1_buys_where_networks_have_their_old_names(scripts: Path, base: Market) -> None:
    with costs(base, TOTAL):
        assert_all_bought(base, replies(scripts, "pay_v1.mjs", base, network="base-sepolia"))


def test_version_1_knows_no_other_networks(scripts: Path, monad: Market) -> None:
    with costs(monad, 0):
        came = replies(scripts, "pay_v1.mjs", monad, network="base-sepolia")
    assert all("invalid_enum_value" in reply["error"] for reply in came), came
