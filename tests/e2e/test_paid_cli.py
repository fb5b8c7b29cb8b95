"""The command line and the SDK pay a real node that simulates payments, from end to end.

Skipped until `dispatchd run` has `--payments`; from then on it runs by itself.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatchd import ComputeRouter, Wallet
from dispatchd.config.options import RUN_OPTIONS
from dispatchd.sdk.errors import PaymentRefused, SpendingCapReached
from dispatchd.sdk.hosted import HostedAccounts
from tests.e2e.client import LLM, TASK, USER, Client
from tests.support.process import dispatchd, ended

pytestmark = pytest.mark.skipif(
    "--payments" not in {option.flag for option in RUN_OPTIONS},
    reason="the node does not sell its work yet",
)

CLASSIFY = ("submit", "task", "classify", "This product is amazing.")
TASK_ATOMIC, LLM_ATOMIC = 1_000, 10_000
POOR_KEY = "0x" + "12" * 32


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("node")
    selling = ("run", "--testnet", "--payments", "simulated", "--port", "0")
    with dispatchd(*selling, "--data-dir", str(folder / "data"), home=folder) as node:
        yield node.url()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def typed(url: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ended(*arguments, home=home, DISPATCHD_COORDINATOR=url)


def balance(url: str, home: Path, number: int) -> int:
    told = json.loads(typed(url, home, "wallet", "list", "--json").stdout)
    assert told["simulated"]
    return int(told["wallets"][number - 1]["balance"])


def receipt(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job["receipt"])


def test_a_job_has_its_price(url: str, home: Path) -> None:
    done = typed(url, home, *CLASSIFY)
    assert (done.returncode, done.stdout) == (4, "")
    assert "$0.001" in done.stderr
    assert "--pay" in done.stderr


def test_a_paid_job_in_three_commands(url: str, home: Path) -> None:
    before = balance(url, home, 1)
    done = typed(url, home, *CLASSIFY, "--pay", "1", "--json")
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert job["result"]["sentiment"] == "positive"
    assert job["payment"]["state"] == "captured"
    assert job["payment"]["transaction"] in done.stderr
    assert receipt(job)["payment_ref"].startswith("eip155:10143/erc20:0x534b2f3a")
    assert before - balance(url, home, 1) == TASK_ATOMIC
    assert typed(url, home, "receipt", "verify", job["id"]).returncode == 0


def test_a_batch(url: str, home: Path) -> None:
    (home / "jobs.jsonl").write_text('{"task_type":"classify","input":"fine"}\n' * 3)
    before = balance(url, home, 2)
    done = typed(url, home, "submit", "--batch", "jobs.jsonl", "--pay", "2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert "$0.003 spent" in done.stderr
    assert before - balance(url, home, 2) == 3 * TASK_ATOMIC


def test_a_cancelled_job_costs_nothing(url: str, home: Path) -> None:
    before = balance(url, home, 3)
    payload = LLM | {"max_tokens": 100_000, "ignore_eos": True}
    order = json.dumps({"job_type": "LLM_INFER", "user_id": USER, "payload": payload})
    route = f"{url}/v1/jobs/commit/fast"
    taken = typed(url, home, "pay", "POST", route, "-d", order, "--pay", "3")
    job_id = json.loads(taken.stdout)["job_id"]
    assert typed(url, home, "job", "cancel", job_id).returncode == 0
    assert Client(url).job(job_id)["payment"]["state"] == "released"
    assert balance(url, home, 3) == before


def test_an_empty_wallet_and_the_faucet(url: str, home: Path) -> None:
    key = home / "poor.key"
    key.write_text(POOR_KEY)
    key.chmod(0o600)
    refused = typed(url, home, *CLASSIFY, "--pay", str(key))
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "insufficient_funds" in refused.stderr
    address = Wallet.from_key(POOR_KEY).address
    assert typed(url, home, "wallet", "faucet", address, "$0.001").returncode == 0
    paid = typed(url, home, *CLASSIFY, "--pay", str(key))
    assert paid.returncode == 0, paid.stderr


def test_any_x402_client_buys_a_job(url: str, home: Path) -> None:
    before = balance(url, home, 4)
    order = {"job_type": "TASK", "user_id": USER, "payload": TASK}
    route = f"{url}/v1/jobs/commit/cheap"
    done = typed(url, home, "pay", "POST", route, "-d", json.dumps(order), "--pay", "4")
    assert done.returncode == 0, done.stderr
    Client(url).until(json.loads(done.stdout)["job_id"], "completed")
    assert before - balance(url, home, 4) == TASK_ATOMIC


def test_the_sdk(url: str, home: Path) -> None:
    before = balance(url, home, 5)
    wallet = Wallet.development(5, max_per_session="$0.021")
    with ComputeRouter.sync({"monad": url}, hosted=HostedAccounts(), payer=wallet) as router:
        task = router.run_task("classify", "This product is amazing.", user_id=USER)
        stream = router.stream_llm("What is a blockchain?", 8, USER)
        assert "".join(stream) == stream.result.output["text"]
        llm = router.run_llm("What is a blockchain?", 8, USER)
        with pytest.raises(SpendingCapReached):
            router.run_task("classify", "one more", user_id=USER)
    for each in (task, stream.result, llm):
        assert each.payment
        assert (each.payment.state, bool(each.payment.transaction)) == ("captured", True)
        assert router.verify(each).payment_ref
    assert wallet.spent == "$0.021"
    assert before - balance(url, home, 5) == TASK_ATOMIC + 2 * LLM_ATOMIC


def test_the_sdk_says_why_it_was_refused(url: str) -> None:
    poor = Wallet.from_key("0x" + "34" * 32)
    with (
        ComputeRouter.sync({"monad": url}, hosted=HostedAccounts(), payer=poor) as router,
        pytest.raises(PaymentRefused) as caught,
    ):
        router.run_task("classify", "fine", user_id=USER)
    assert caught.value.reason == "insufficient_funds"
    assert poor.spent == "$0.000"
