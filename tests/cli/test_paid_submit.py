"""`submit --pay` against a coordinator of others, whose till eth-account checks."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from dispatchd.sdk import http
from tests.cli.conftest import Invoke
from tests.sdk.cashier import both, guide, offer_of, v1, v2
from tests.sdk.foreign_coordinator import served
from tests.support.process import dispatchd

TASK = ("submit", "task", "classify", "x")
LLM = ("submit", "llm", "x")
BOB = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BOBS_KEY = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
CAPTURED = {"state": "captured", "amount": "10000", "transaction": "0xabc", "simulated": True}
RELEASED = {"state": "released", "amount": "10000", "transaction": None}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = http.Pace((), (0.01,), 20.0, 0.02)
    monkeypatch.setattr("dispatchd.sdk.coordinator.Pace", lambda: quick)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "bob.key"
    file.write_text(f"{BOBS_KEY}\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("pay", ["2", BOB, BOB.lower(), "FILE", "ENVIRONMENT"])
def test_who_pays(invoke: Invoke, key_file: Path, pay: str) -> None:
    wallet = str(key_file) if pay == "FILE" else pay
    arguments = () if pay == "ENVIRONMENT" else ("--pay", wallet)
    variables = {"DISPATCHD_PAY": "2"} if pay == "ENVIRONMENT" else {}
    with served(cashier=(cashier := both()), output='{"a":1}') as other:
        done = invoke(*TASK, *arguments, COORDINATOR_URL=other.url, **variables)
    assert (done.exit_code, done.stdout) == (0, '{"a":1}\n'), done.stderr
    assert cashier.signer() == BOB
    assert "paid $0.010" in done.stderr
    assert BOBS_KEY not in done.output


@pytest.mark.parametrize("arguments", [TASK, LLM, (*LLM, "--json"), (*TASK, "--no-wait")])
def test_what_was_paid_is_told_on_stderr(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    with served(cashier=v2(), job_payment=CAPTURED, output='{"text":"hi"}') as other:
        done = invoke(*arguments, "--pay", "1", COORDINATOR_URL=other.url)
    assert done.exit_code == 0
    assert "0xabc" not in done.stdout.replace(json.dumps(CAPTURED), "")
    if "--no-wait" not in arguments:
        assert "paid $0.010 on eip155:10143 (simulated), transaction 0xabc" in done.stderr
    if "--json" in arguments:
        assert json.loads(done.stdout)["payment"] == CAPTURED


def test_a_job_shows_its_payment(invoke: Invoke) -> None:
    with served(cashier=v2(), job_payment=CAPTURED, polls_until_done=1) as other:
        where = {"COORDINATOR_URL": other.url}
        job_id = invoke(*TASK, "--no-wait", "--pay", "1", **where).stdout.strip()
        shown = invoke("job", "get", job_id, **where).stdout
    assert "captured" in shown
    assert "0xabc" in shown


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--max-price", "$0.009"), "$0.009"),
        (("--max-total", "0.009"), "$0.009"),
    ],
)
def test_caps(invoke: Invoke, more: tuple[str, ...], said: str) -> None:
    with served(cashier=(cashier := v1())) as other:
        done = invoke(*TASK, "--pay", "1", *more, COORDINATOR_URL=other.url)
    assert (done.exit_code, done.stdout, cashier.payments) == (4, "", [])
    assert said in done.stderr
    assert "nothing was paid" in done.stderr


def test_what_cannot_be_paid(invoke: Invoke) -> None:
    for cashier, said in (
        (v2(offer_of(2, network="solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1")), "Solana"),
        (guide(payTo=None), "payTo"),
        (v2(offer_of(2, amount="20000")), "Quoted $0.010"),
    ):
        with served(cashier=cashier) as other:
            done = invoke(*TASK, "--pay", "1", COORDINATOR_URL=other.url)
        assert (done.exit_code, done.stdout) == (4, "")
        assert said in done.stderr


def test_without_pay_the_next_step_is_said(invoke: Invoke) -> None:
    with served(cashier=v2()) as other:
        done = invoke(*TASK, COORDINATOR_URL=other.url)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "--pay" in done.stderr


def test_a_refused_payment(invoke: Invoke) -> None:
    with served(cashier=(cashier := v2())) as other:
        cashier.refusals.append("insufficient_funds")
        done = invoke(*TASK, "--pay", "1", COORDINATOR_URL=other.url)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "insufficient_funds" in done.stderr


def test_a_capture_that_was_refused(invoke: Invoke) -> None:
    with served(cashier=v2(), error="payment_failed", job_payment=RELEASED) as other:
        done = invoke(*TASK, "--pay", "1", COORDINATOR_URL=other.url)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "Nothing was charged" in done.stderr


def test_a_payment_whose_fate_is_unknown(invoke: Invoke) -> None:
    with served(cashier=(cashier := v2()), lost_answers=9) as other:
        done = invoke(*TASK, "--pay", "1", COORDINATOR_URL=other.url)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "pay twice" in done.stderr
    assert len(set(cashier.seen)) == 1


def test_keys_that_others_can_read_are_refused(invoke: Invoke, key_file: Path) -> None:
    key_file.chmod(0o644)
    done = invoke(*TASK, "--pay", str(key_file))
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"chmod 600 '{key_file}'" in done.stderr


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--pay", "11"), "1 to 10"),
        (("--pay", "0x" + "ab" * 20), "wallet list"),
        (("--pay", "1", "--max-price", "x"), "x"),
        (("--pay", "1", "--max-total", "-1"), "-1"),
    ],
)
def test_usage(invoke: Invoke, more: tuple[str, ...], named: str) -> None:
    done = invoke(*TASK, *more)
    assert (done.exit_code, done.stdout) == (2, "")
    assert named in done.stderr


def batch(tmp_path: Path, jobs: int) -> str:
    file = tmp_path / "jobs.jsonl"
    file.write_text("".join(f'{{"prompt":"{number}"}}\n' for number in range(jobs)))
    return str(file)


def test_a_batch_pays_for_each(invoke: Invoke, tmp_path: Path) -> None:
    with served(cashier=(cashier := v2()), job_payment=CAPTURED, polls_until_done=1) as other:
        done = invoke(
            "submit", "--batch", batch(tmp_path, 5), "--pay", "1", COORDINATOR_URL=other.url
        )
    assert done.exit_code == 0, done.stderr
    assert len(cashier.nonces) == len(done.stdout.splitlines()) == 5
    assert "5 completed, 0 failed, $0.050 spent" in done.stderr


@pytest.mark.parametrize("parallel", ["1", "4"])
def test_a_batch_that_reaches_its_cap_finishes_what_is_paid(
    invoke: Invoke, tmp_path: Path, parallel: str
) -> None:
    arguments = ("--pay", "1", "--max-total", "$0.03", "--parallel", parallel)
    with served(cashier=(cashier := v2()), job_payment=CAPTURED) as other:
        done = invoke(
            "submit", "--batch", batch(tmp_path, 9), *arguments, COORDINATOR_URL=other.url
        )
    jobs = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 4
    assert [job["status"] for job in jobs].count("completed") == 3
    assert len(jobs) == 9
    assert len(cashier.nonces) == 3
    assert "$0.030 of $0.030 are spent" in jobs[-1]["result"]["error"]
    assert "3 completed, 6 failed, $0.030 spent" in done.stderr
    assert cashier.offered <= 3 + int(parallel)


def test_a_batch_waits_where_too_many_payments_are_open(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatchd.sdk.errand._BUSY_SECONDS", 0.01)
    full = [web.json_response({"error": "too_many_open_payments"}, status=429) for _ in range(9)]
    with served(cashier=(cashier := v2()), taken_but=full, job_payment=CAPTURED) as other:
        done = invoke(
            "submit", "--batch", batch(tmp_path, 2), "--pay", "1", COORDINATOR_URL=other.url
        )
    assert done.exit_code == 0, done.stderr
    assert len(cashier.nonces) == 2
    assert "2 completed, 0 failed, $0.020 spent" in done.stderr


def test_a_single_job_does_not(invoke: Invoke) -> None:
    full = [web.json_response({"error": "too_many_open_payments"}, status=429) for _ in range(9)]
    with served(cashier=v2(), taken_but=full) as other:
        done = invoke(*TASK, "--pay", "1", COORDINATOR_URL=other.url)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "too_many_open_payments" in done.stderr


def test_a_job_that_is_too_dear_does_not_end_a_batch(invoke: Invoke, tmp_path: Path) -> None:
    arguments = ("--pay", "1", "--max-price", "$0.009", "--parallel", "1")
    with served(cashier=(cashier := v2())) as other:
        done = invoke(
            "submit", "--batch", batch(tmp_path, 3), *arguments, COORDINATOR_URL=other.url
        )
    assert (done.exit_code, cashier.payments, cashier.offered) == (1, [], 3)
    errors = [json.loads(line)["result"]["error"] for line in done.stdout.splitlines()]
    assert ["$0.009" in error for error in errors] == [True] * 3


def test_money_that_comes_back_may_be_spent_again(invoke: Invoke, tmp_path: Path) -> None:
    arguments = ("--pay", "1", "--max-total", "$0.01", "--parallel", "1")
    with served(
        cashier=(cashier := v2()), error="no_eligible_worker", job_payment=RELEASED
    ) as other:
        done = invoke(
            "submit", "--batch", batch(tmp_path, 3), *arguments, COORDINATOR_URL=other.url
        )
    assert (done.exit_code, len(cashier.nonces)) == (1, 3)
    assert "0 completed, 3 failed, $0.000 spent" in done.stderr


def test_a_batch_without_payer_ends_at_the_first_bill(invoke: Invoke, tmp_path: Path) -> None:
    with served(cashier=v2()) as other:
        done = invoke("submit", "--batch", batch(tmp_path, 3), COORDINATOR_URL=other.url)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "0 of 3 jobs are done" in done.stderr


def test_time_that_runs_out_over_a_payment(tmp_path: Path) -> None:
    away = [web.json_response({}, status=503, headers={"Retry-After": "20"}) for _ in range(9)]
    with (
        served(cashier=v2(), taken_but=away) as other,
        dispatchd(
            *(*TASK, "--pay", "1", "--timeout", "1.5", "--coordinator", other.url), home=tmp_path
        ) as client,
    ):
        assert client.popen.wait(20) == 6
        client.err.wait_for("paying again may pay twice")
