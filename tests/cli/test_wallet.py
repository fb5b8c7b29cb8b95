"""`dispatchd wallet` against the facilitator in the box."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account

from dispatchd.sdk import http
from tests.cli.conftest import Invoke
from tests.sdk.foreign_coordinator import served
from tests.support.box import running_box
from tests.support.process import free_port
from tests.support.threads import on_a_thread

PHRASE = "test test test test test test test test test test test junk"
STRANGER = "0x" + "ab" * 20


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatchd.sdk.coordinator.Pace", lambda: http.Pace((), ()))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[str]:
    with on_a_thread(running_box(tmp_path)) as url:
        yield url


def oracle(number: int) -> str:
    Account.enable_unaudited_hdwallet_features()
    path = f"m/44'/60'/0'/0/{number - 1}"
    return str(Account.from_mnemonic(PHRASE, account_path=path).address)


def test_the_wallets_and_their_simulated_money(invoke: Invoke, box: str) -> None:
    listed = invoke("wallet", "list", "--coordinator", box)
    assert listed.exit_code == 0
    head, *rows = listed.stdout.splitlines()
    assert "SIMULATED" in head
    assert [row.split() for row in rows] == [
        [str(number), oracle(number), "$1000.000"] for number in range(1, 11)
    ]
    assert "never send real money" in listed.stderr


def test_the_list_for_programs(invoke: Invoke, box: str) -> None:
    told = json.loads(invoke("wallet", "list", "--json", COORDINATOR_URL=box).stdout)
    assert (told["simulated"], told["network"]) == (True, "eip155:10143")
    assert told["wallets"][9] == {"number": 10, "address": oracle(10), "balance": "1000000000"}


def test_a_node_that_simulates_nothing_has_addresses_still(invoke: Invoke) -> None:
    with served() as other:
        for url in (other.url, f"http://127.0.0.1:{free_port()}"):
            listed = invoke("wallet", "list", "--coordinator", url)
            assert (listed.exit_code, listed.stdout.split()[-1]) == (0, "-")
            assert oracle(10) in listed.stdout
            assert "--payments simulated" in listed.stderr
            told = json.loads(invoke("wallet", "list", "--json", "--coordinator", url).stdout)
            assert {wallet["balance"] for wallet in told["wallets"]} == {None}


@pytest.mark.parametrize("wallet", ["2", oracle(2), oracle(2).lower()])
def test_the_faucet_takes_dollars(invoke: Invoke, box: str, wallet: str) -> None:
    given = invoke("wallet", "faucet", wallet, "$5", "--coordinator", box)
    assert given.exit_code == 0, given.stderr
    assert "$1005.000" in given.stdout
    assert "simulated" in given.stdout
    more = invoke("wallet", "faucet", wallet, "0.000001", "--json", "--coordinator", box)
    assert json.loads(more.stdout)["balance"] == "1005000001"


def test_anybody_may_have_simulated_money(invoke: Invoke, box: str) -> None:
    given = invoke("wallet", "faucet", STRANGER, "5.00", "--json", "--coordinator", box)
    told = json.loads(given.stdout)
    assert (told["address"], told["balance"], told["simulated"]) == (STRANGER, "5000000", True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("11", "5"), "1 to 10"),
        (("0", "5"), "1 to 10"),
        (("me", "5"), "me"),
        (("1", "five"), "five"),
        (("1", "0"), "more than nothing"),
        (("0x" + "ab" * 32, "5"), "private key"),
        (("1",), "DOLLARS"),
    ],
)
def test_usage(invoke: Invoke, arguments: tuple[str, ...], named: str) -> None:
    done = invoke("wallet", "faucet", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert named in done.stderr
    assert "abab" not in done.stderr


def test_no_faucet_without_simulation(invoke: Invoke) -> None:
    with served() as other:
        done = invoke("wallet", "faucet", "1", "5", "--coordinator", other.url)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--payments simulated" in done.stderr
    nobody = invoke("wallet", "faucet", "1", "5", COORDINATOR_URL=f"http://127.0.0.1:{free_port()}")
    assert (nobody.exit_code, nobody.stdout) == (3, "")
