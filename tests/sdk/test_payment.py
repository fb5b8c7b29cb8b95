"""What the SDK does when it is asked for money; eth-account says whether it was paid right."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dispatchd import ComputeRouter, Wallet
from dispatchd.sdk import Bill, Payment
from dispatchd.sdk.errors import (
    BadReply,
    CannotPay,
    CommitLost,
    InvalidRequest,
    JobFailed,
    JobTimeout,
    PaymentFailed,
    PaymentRefused,
    PaymentRequired,
    SpendingCapReached,
    TooDear,
    Unreachable,
)
from dispatchd.sdk.hosted import Account, HostedAccounts
from dispatchd.sdk.http import Pace
from dispatchd.sdk.outlay import Outlay
from tests.sdk.cashier import MONAD, USDC, Cashier, both, guide, offer_of, v1, v2
from tests.sdk.foreign_coordinator import ForeignCoordinator, foreign_coordinator, served
from tests.sdk.pace import NOBODY, QUICK, router_to
from tests.support.process import clean_environment

USER = "user_abc123"
ALICE = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ALICES_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ELSEWHERE = HostedAccounts(openai=Account("key", "http://127.0.0.1:1", "m"))
CAPTURED = {
    "state": "captured",
    "amount": "10000",
    "asset": USDC,
    "network": MONAD,
    "transaction": "0xabc",
}


def alice(**caps: Any) -> Wallet:
    return Wallet.from_key(ALICES_KEY, **caps)


async def classify(other: ForeignCoordinator, payer: Any, *more: Any, **fields: Any) -> Any:
    return await router_to(other.url, *more, payer=payer).run_task("classify", "x", USER, **fields)


async def test_without_a_payer_the_price_is_said() -> None:
    async with foreign_coordinator(asks="$0.010") as other:
        with pytest.raises(PaymentRequired, match=r"\$0\.010") as caught:
            await router_to(other.url).run_task("classify", "x", USER)
        assert caught.value.offers[0]["price"] == "$0.010"
        assert other.orders == []


@pytest.mark.parametrize(
    ("cashier", "version"),
    [
        (v1(), 1),
        (v2(), 2),
        (both(), 2),
        (guide(), 1),
        (guide(network="monad-testnet"), 1),
        (v1(offer_of(1, network=MONAD)), 1),
        (v2(offer_of(2, extra={"name": "USDC", "version": "2", "more": [1]})), 2),
        (v2(offer_of(2, maxTimeoutSeconds=10**15)), 2),
        (v2(offer_of(2, asset="0x" + "ab" * 20, extra={"name": "Play", "version": "7"})), 2),
        (v2(offer_of(2, scheme="upto"), offer_of(2)), 2),
        (v1(offer_of(1, network="solana", asset="x", payTo="y"), offer_of(1)), 1),
        (v2(offer_of(2, network="eip155:84532"), offer_of(2)), 2),
    ],
)
async def test_an_offer_is_paid_in_its_version(cashier: Cashier, version: int) -> None:
    wallet = alice()
    async with foreign_coordinator(cashier=cashier, job_payment=CAPTURED) as other:
        result = await classify(other, wallet)
        assert len(other.orders) == 1
        assert len(set(other.keys)) == 1
        assert len(other.keys) == 2
    (payment,) = cashier.payments
    assert payment["x402Version"] == version
    assert payment["payload"]["authorization"]["from"] == ALICE == wallet.address
    assert cashier.signer() == ALICE
    assert (result.price, wallet.spent) == ("$0.010", "$0.010")
    assert (result.payment.state, result.payment.amount) == ("captured", "10000")
    assert result.payment.transaction == "0xabc"


def test_the_blocking_router_pays_too() -> None:
    cashier = both()
    with (
        served(cashier=cashier) as other,
        ComputeRouter.sync({"monad": other.url}, hosted=NOBODY, pace=QUICK, payer=alice()) as sync,
    ):
        assert sync.run_task("classify", "x", user_id=USER).payment is None
        assert list(sync.stream_llm("x", user_id=USER))
    assert len(cashier.nonces) == 2
    assert cashier.signer() == ALICE


async def test_a_private_job_is_paid_like_any_other() -> None:
    async with foreign_coordinator(cashier=both()) as other:
        await classify(other, alice(), privacy="PRIVATE")
        assert other.orders[0]["privacy_class"] == "PRIVATE"


@pytest.mark.parametrize(
    ("cashier", "said"),
    [
        (guide(payTo=None), "payTo"),
        (guide(asset=None), "asset"),
        (guide(price=None), "maxAmountRequired"),
        (guide(price="a cent"), "a cent"),
        (guide(asset="0x" + "ab" * 20), "maxAmountRequired"),
        (guide(asset="0x" + "ab" * 20, maxAmountRequired="1"), "extra.name, extra.version"),
        (guide(network="mars"), "mars"),
        (guide(network=None), "network"),
        (guide(network="eip155:xyz", maxAmountRequired="1", extra={"name": "a", "version": "b"}),
         "eip155"),
        (v1(offer_of(1, network="solana-devnet")), "Solana"),
        (v2(offer_of(2, network="solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1")), "Solana"),
        (v2(offer_of(2, scheme="upto")), "upto"),
        (v2(offer_of(2, payTo="nobody")), "payTo"),
        (v2(offer_of(2, amount="-1")), "amount"),
        (v2(offer_of(2, amount=str(2**256))), "amount"),
        (v2(offer_of(2, network="eip155:8453")), "quote was for eip155:10143"),
        (v2(offer_of(2, extra={"name": "USDC", "version": "2", "assetTransferMethod": "permit2"})),
         "permit2"),
        (Cashier(header={"x402Version": 3, "accepts": [offer_of(2)]}), "version 1 or 2"),
        (Cashier(header={"x402Version": [], "accepts": [offer_of(2)]}), "version 1 or 2"),
        (Cashier(header={"x402Version": 2, "accepts": []}), "version 1 or 2"),
        (Cashier(body={"accepts": "money"}), "version 1 or 2"),
        (v2(offer_of(2, network="solana"), offer_of(2, scheme="x")), "offer 2"),
    ],
)  # fmt: skip
async def test_an_offer_that_cannot_be_paid(cashier: Cashier, said: str) -> None:
    wallet = alice()
    async with foreign_coordinator(cashier=cashier) as other:
        with pytest.raises(CannotPay) as caught:
            await classify(other, wallet, ELSEWHERE)
        assert said in str(caught.value)
        assert (other.orders, cashier.payments, wallet.spent) == ([], [], "$0.000")


async def test_a_token_that_may_be_worth_anything_is_paid_only_where_it_is_named() -> None:
    odd = "0x" + "Ab" * 20
    offer = offer_of(2, network="eip155:8453", asset=odd, extra={"name": "Gold", "version": "1"})
    bill = Bill({"PAYMENT-REQUIRED": header_of(offer)}, "")
    with pytest.raises(CannotPay, match="not known to be dollars"):
        await alice().pay(bill)
    assert (await alice(tokens=[odd.lower()]).pay(bill)).amount == 10000


def header_of(*offers: dict[str, Any]) -> str:
    headers = v2(*offers).asked().headers
    return headers["PAYMENT-REQUIRED"]


@pytest.mark.parametrize("cashier", [v2(offer_of(2, amount="10001")), guide(price="$100")])
async def test_more_than_quoted_is_not_paid(cashier: Cashier) -> None:
    wallet = alice(max_per_job=None, max_per_session=None)
    async with foreign_coordinator(cashier=cashier) as other:
        with pytest.raises(TooDear, match="nothing was paid"):
            await classify(other, wallet, ELSEWHERE)
    assert (cashier.payments, wallet.spent) == ([], "$0.000")


async def test_a_quote_that_is_no_amount_allows_nothing() -> None:
    async with foreign_coordinator(cashier=v2(), price="cheap") as other:
        with pytest.raises(TooDear, match="cheap"):
            await classify(other, alice())
        assert other.orders == []


async def test_the_cap_of_a_job() -> None:
    async with foreign_coordinator(cashier=(cashier := v2())) as other:
        with pytest.raises(SpendingCapReached, match=r"\$0\.010.*\$0\.0099") as caught:
            await classify(other, alice(max_per_job="$0.0099"))
        assert (caught.value.cap, cashier.payments) == ("job", [])
        await classify(other, alice(max_per_job="$0.01"))


async def test_the_cap_of_a_session_holds_for_jobs_at_once() -> None:
    wallet = alice(max_per_session="0.05")
    async with foreign_coordinator(cashier=(cashier := v2())) as other:
        runs = [classify(other, wallet) for _ in range(9)]
        came = await asyncio.gather(*runs, return_exceptions=True)
    refused = [one for one in came if isinstance(one, SpendingCapReached)]
    assert [one.cap for one in refused] == ["session"] * 4
    assert (len(cashier.nonces), wallet.spent) == (5, "$0.050")


async def test_the_defaults_of_the_caps() -> None:
    wallet = alice()
    with pytest.raises(SpendingCapReached, match=r"\$0\.050"):
        await wallet.pay(Bill({"PAYMENT-REQUIRED": header_of(offer_of(2, amount="50001"))}, ""))
    dear = Bill({"PAYMENT-REQUIRED": header_of(offer_of(2, amount="50000"))}, "")
    for _ in range(20):
        await wallet.pay(dear)
    with pytest.raises(SpendingCapReached, match=r"\$1\.000"):
        await wallet.pay(dear)


@pytest.mark.parametrize("amount", ["", "$", "x", "-1", "1e3", "0.0000001", "1.2.3", "∞", 0.05])
def test_a_cap_that_is_no_amount(amount: Any) -> None:
    with pytest.raises(InvalidRequest, match="amount"):
        alice(max_per_job=amount)


async def test_a_lost_answer_is_asked_for_with_the_same_payment() -> None:
    wallet = alice()
    async with foreign_coordinator(cashier=(cashier := both()), lost_answers=2) as other:
        result = await classify(other, wallet)
        assert [result.job_id] == list(other.jobs.values())
        assert len(set(other.keys)) == 1
    assert len(cashier.seen) == 3
    assert len(set(cashier.seen)) == 1
    assert wallet.spent == "$0.010"


async def test_a_busy_answer_after_the_payment_was_taken() -> None:
    busy = [web.json_response({"error": "x"}, status=503, headers={"Retry-After": "0"})]
    async with foreign_coordinator(cashier=(cashier := both()), taken_but=busy) as other:
        await classify(other, alice())
        assert len(other.orders) == 1
    assert len(cashier.seen) == 2
    assert len(set(cashier.seen)) == 1


async def test_a_payment_whose_fate_stays_unknown_is_not_doubled_elsewhere() -> None:
    wallet = alice()
    async with foreign_coordinator(cashier=(cashier := both()), lost_answers=9) as other:
        with pytest.raises(CommitLost) as caught:
            await classify(other, wallet, ELSEWHERE)
    assert caught.value.paid
    assert "pay twice" in caught.value.hint
    assert (len(set(cashier.seen)), wallet.spent) == (1, "$0.010")


async def test_an_error_that_says_nothing_of_the_payment_leaves_it_unknown() -> None:
    broken = [web.json_response({"error": "x"}, status=500)]
    wallet = alice()
    async with foreign_coordinator(cashier=both(), taken_but=broken) as other:
        with pytest.raises(CommitLost):
            await classify(other, wallet, ELSEWHERE)
    assert wallet.spent == "$0.010"


async def test_a_refusal_after_a_lost_answer_leaves_it_unknown() -> None:
    wallet = alice()
    cashier = both()
    async with foreign_coordinator(cashier=cashier, lost_answers=1) as other:
        run = asyncio.ensure_future(
            router_to(other.url, payer=wallet).run_task("classify", "x", USER)
        )
        async with asyncio.timeout(5):
            while not other.orders:
                await asyncio.sleep(0.001)
        cashier.refusals.append("insufficient_funds")
        with pytest.raises(PaymentRefused) as caught:
            await run
    assert caught.value.may_be_charged
    assert wallet.spent == "$0.010"


async def test_a_commit_that_is_refused_after_a_lost_answer_leaves_it_unknown() -> None:
    again = [
        web.json_response({"error": "x"}, status=503, headers={"Retry-After": "0"}),
        web.json_response({"error": "this payment is known"}, status=409),
    ]
    wallet = alice()
    async with foreign_coordinator(cashier=both(), taken_but=again) as other:
        with pytest.raises(CommitLost, match="this payment is known"):
            await classify(other, wallet, ELSEWHERE)
    assert wallet.spent == "$0.010"


async def test_an_uncertain_failure_stays_one() -> None:
    charged = {"error": "away", "charged": False}
    answers = [web.json_response({"error": "x"}, status=503, headers={"Retry-After": "0"})]
    answers += [
        web.json_response(charged, status=503, headers={"Retry-After": "0"}) for _ in range(9)
    ]
    wallet = alice()
    async with foreign_coordinator(cashier=both(), taken_but=answers) as other:
        with pytest.raises(CommitLost):
            await classify(other, wallet, ELSEWHERE)
    assert wallet.spent == "$0.010"


async def test_a_facilitator_that_is_away_costs_nothing() -> None:
    away = {"error": "facilitator_unavailable", "charged": False}
    busy = [web.json_response(away, status=503, headers={"Retry-After": "0"}) for _ in range(9)]
    wallet = alice()
    async with foreign_coordinator(cashier=(cashier := both()), taken_but=busy) as other:
        with pytest.raises(Unreachable, match="facilitator_unavailable") as caught:
            await classify(other, wallet)
    assert caught.value.may_fall_back
    assert (len(set(cashier.seen)), wallet.spent) == (1, "$0.000")


@pytest.mark.parametrize(
    ("reason", "words", "spent"),
    [
        ("insufficient_funds", "too little", "$0.000"),
        ("invalid_exact_evm_payload_signature", "signature", "$0.000"),
        ("a_new_reason", "Thus says the shop", "$0.000"),
        ("payment_already_used", "pay twice", "$0.010"),
        ("invalid_exact_evm_nonce_already_used", "pay twice", "$0.010"),
    ],
)
@pytest.mark.parametrize("make", [v1, v2, both])
async def test_a_refused_payment(make: Any, reason: str, words: str, spent: str) -> None:
    wallet, cashier = alice(), make()
    cashier.refusals.append(reason)
    async with foreign_coordinator(cashier=cashier) as other:
        with pytest.raises(PaymentRefused) as caught:
            await classify(other, wallet, ELSEWHERE)
        assert other.orders == []
    assert caught.value.reason == reason
    assert caught.value.may_be_charged == (spent != "$0.000")
    assert words in f"{caught.value}. {caught.value.hint}"
    assert (len(cashier.seen), wallet.spent) == (1, spent)


async def test_a_commit_that_is_refused_after_payment_costs_nothing() -> None:
    wrong = [web.json_response({"error": "no such tier", "charged": False}, status=422)]
    wallet = alice()
    async with foreign_coordinator(cashier=both(), taken_but=wrong) as other:
        with pytest.raises(InvalidRequest, match="no such tier"):
            await classify(other, wallet)
    assert wallet.spent == "$0.000"


@pytest.mark.parametrize(
    ("state", "spent", "goes"),
    [
        ("released", "$0.000", True),
        ("failed", "$0.000", True),
        ("refund_due", "$0.010", False),
        ("capturing", "$0.010", False),
        (None, "$0.010", False),
    ],
)
async def test_a_paid_job_that_failed(state: str | None, spent: str, *, goes: bool) -> None:
    wallet = alice()
    told = state and CAPTURED | {"state": state, "transaction": None}
    async with foreign_coordinator(
        cashier=both(), error="no_eligible_worker", job_payment=told
    ) as other:
        with pytest.raises(JobFailed) as caught:
            await classify(other, wallet)
    assert caught.value.may_fall_back == goes
    assert wallet.spent == spent


async def test_money_comes_back_once() -> None:
    wallet = alice()
    bill = Bill({"PAYMENT-REQUIRED": header_of(offer_of(2))}, "")
    await wallet.pay(bill)
    outlay = Outlay(wallet, await wallet.pay(bill))
    for _ in range(2):
        outlay.returned()
    assert (outlay.out, wallet.spent) == (False, "$0.010")


async def test_a_payment_that_could_not_be_captured() -> None:
    wallet = alice()
    told = CAPTURED | {"state": "failed", "transaction": None}
    async with foreign_coordinator(
        cashier=both(), error="payment_failed", job_payment=told
    ) as other:
        with pytest.raises(PaymentFailed) as caught:
            await classify(other, wallet, ELSEWHERE)
        assert caught.value.job_id in other.jobs.values()
    assert wallet.spent == "$0.000"


async def test_a_coordinator_that_is_gone_once_it_was_paid() -> None:
    async with foreign_coordinator(cashier=both(), poll_refusals=[503] * 9) as other:
        with pytest.raises(Unreachable) as caught:
            await classify(other, alice(), ELSEWHERE)
    assert not caught.value.may_fall_back
    async with foreign_coordinator(cashier=both(), poll_refusals=[503] * 9) as other:
        stream = router_to(other.url, ELSEWHERE, payer=alice()).stream_llm("x", user_id=USER)
        with pytest.raises(Unreachable):
            await anext(stream)


async def test_an_answer_without_a_job() -> None:
    nonsense = [web.json_response({}, status=201)]
    async with foreign_coordinator(cashier=both(), taken_but=nonsense) as other:
        with pytest.raises(BadReply) as caught:
            await classify(other, alice(), ELSEWHERE)
    assert not caught.value.may_fall_back


async def test_time_that_runs_out_over_a_payment() -> None:
    slow = Pace(retries=(), waiting_retries=(60,), wait=5, poll=0.02)
    async with foreign_coordinator(cashier=both(), lost_answers=9) as other:
        router = ComputeRouter({"monad": other.url}, payer=alice(), hosted=ELSEWHERE, pace=slow)
        with pytest.raises(JobTimeout, match=r"0\.3 s") as caught:
            await router.run_task("classify", "x", USER, timeout=0.3)
    assert caught.value.paid
    assert "pay twice" in caught.value.hint


class Friend:
    """A payer of somebody else's, with headers of its own."""

    async def pay(self, bill: Bill) -> Payment:
        assert (bill.price, bill.network) == ("$0.010", MONAD)
        return Payment(headers={"X-PAYMENT": "signed"}, amount=1, network=MONAD, asset=USDC)

    def give_back(self, payment: Payment) -> None:
        raise AssertionError


async def test_any_payer_will_do() -> None:
    async with foreign_coordinator(asks="$0.010") as other:
        await classify(other, Friend())
        assert other.headers[0]["X-PAYMENT"] == "signed"


def test_wallets_and_what_they_show(tmp_path: Path) -> None:
    file = tmp_path / "wallet.key"
    file.write_text(f"{ALICES_KEY}\n")
    file.chmod(0o600)
    wallets = [alice(), Wallet.from_key(ALICES_KEY[2:]), Wallet.from_file(file)]
    assert {wallet.address for wallet in (*wallets, Wallet.development(1))} == {ALICE}
    assert ALICES_KEY[2:] not in repr(wallets) + repr(vars(wallets[0]))
    file.chmod(0o640)
    with pytest.raises(InvalidRequest, match="Others") as caught:
        Wallet.from_file(file)
    assert f"chmod 600 '{file}'" in caught.value.hint
    file.chmod(0o600)
    file.write_text("0x12")
    with pytest.raises(InvalidRequest, match="no key file"):
        Wallet.from_file(file)
    with pytest.raises(InvalidRequest, match="No such file"):
        Wallet.from_file(tmp_path / "nothing")
    with pytest.raises(InvalidRequest, match="from 1 to 10"):
        Wallet.development(11)
    with pytest.raises(InvalidRequest, match="64 hex") as caught:
        Wallet.from_key("ab" * 31)
    assert "ab" not in str(caught.value)


async def test_no_two_payments_are_the_same() -> None:
    bill = Bill({"PAYMENT-REQUIRED": header_of(offer_of(2))}, "")
    wallet = alice()
    one, other = await wallet.pay(bill), await wallet.pay(bill)
    assert one.headers != other.headers
    assert one.headers["PAYMENT-SIGNATURE"] not in repr(one)


def test_curves_are_loaded_only_by_who_pays(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import dispatchd.cli.submit\n"
        "from dispatchd import ComputeRouter, ComputeResult\n"
        "ComputeRouter({})\n"
        "heavy = {'dispatchd.payment', 'dispatchd.sdk.wallet', 'coincurve', 'Crypto'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from dispatchd import Wallet\n"
        "assert heavy < set(sys.modules)\n"
    )
    environment = clean_environment(tmp_path)
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)
