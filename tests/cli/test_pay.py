"""`dispatchd pay` against shops of others: the published x402 server, and small odd ones."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dispatchd.sdk.http import Pace
from tests.cli.conftest import Invoke
from tests.payment.serving import serving
from tests.sdk.cashier import Cashier, both, header, offer_of, v1, v2
from tests.support.box import running_box
from tests.support.process import ended, free_port
from tests.support.published_shop import published_shop
from tests.support.threads import on_a_thread

BASE = "eip155:84532"
BASE_USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
SETTLED = {"success": True, "transaction": "0xabc", "network": BASE, "payer": "0x1"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatchd.sdk.purchase.Pace", lambda: Pace((), (0.01, 0.01)))


@dataclass
class Shop:
    """A shop with a cashier; `but` are what it answers instead, once it has been paid."""

    cashier: Cashier
    but: list[web.Response] = field(default_factory=list)
    lost: int = 0
    settled: str = "PAYMENT-RESPONSE"
    body: bytes = b"\xff\x00 goods"
    url: str = ""
    requests: list[tuple[str, bytes, Mapping[str, str]]] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.Response:
        sent = (request.method, await request.read(), request.headers.copy())
        self.requests.append(sent)
        if request.path == "/free":
            return web.Response(text="free")
        if unpaid := self.cashier.take(request.headers):
            return unpaid
        if self.lost:
            self.lost -= 1
            assert request.transport
            request.transport.abort()
            return web.Response()
        if self.but:
            return self.but.pop(0)
        return web.Response(body=self.body, headers={self.settled: header(SETTLED)})


@asynccontextmanager
async def open_shop(cashier: Cashier, **settings: Any) -> AsyncIterator[Shop]:
    shop = Shop(cashier, **settings)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", shop.serve)
    async with serving(app) as url:
        shop.url = f"{url}/goods?kind=%C3%A9"
        yield shop


def base(version: int, **changes: Any) -> dict[str, Any]:
    name = BASE if version == 2 else "base-sepolia"
    return offer_of(version, network=name, asset=BASE_USDC, **changes)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with on_a_thread(running_box(tmp_path_factory.mktemp("box"))) as url:
        yield url


def balance(invoke: Invoke, box: str, number: int) -> int:
    wallets = json.loads(invoke("wallet", "list", "--json", "--coordinator", box).stdout)["wallets"]
    return int(wallets[number - 1]["balance"])


@pytest.mark.parametrize("network", [BASE, "eip155:10143"])
def test_the_published_server_is_paid(invoke: Invoke, box: str, network: str) -> None:
    with on_a_thread(published_shop(box, network, "$0.02")) as url:
        done = invoke("pay", "post", url, "-d", '{"a": 1}', "--pay", "2", "--json")
    assert (done.exit_code, done.stdout) == (0, 'You said {"a": 1}'), done.stderr
    paid = json.loads(done.stderr)["payment"]
    assert (paid["amount"], paid["network"]) == ("20000", network)
    assert paid["settlement"]["transaction"].startswith("0x")
    assert paid["settlement"]["success"]


def test_the_published_server_takes_the_money(invoke: Invoke, box: str) -> None:
    before = balance(invoke, box, 3)
    with on_a_thread(published_shop(box, "eip155:10143", "$0.03")) as url:
        assert invoke("pay", "POST", url, "-d", "x", "--pay", "3").exit_code == 0
        assert invoke("pay", "POST", url, "-d", "x").exit_code == 4
        assert invoke("pay", "POST", url, "-d", "x", "--pay", "3", "--max", "0.029").exit_code == 4
    assert before - balance(invoke, box, 3) == 30_000


def test_the_published_server_refuses_a_poor_wallet(
    invoke: Invoke, box: str, tmp_path: Path
) -> None:
    poor = tmp_path / "poor.key"
    poor.write_text("0x" + "12" * 32)
    poor.chmod(0o600)
    with on_a_thread(published_shop(box, BASE, "$0.02")) as url:
        done = invoke("pay", "POST", url, "-d", "x", "--pay", str(poor))
    assert (done.exit_code, done.stdout) == (4, "")
    assert "insufficient_funds" in done.stderr
    assert "Put money into it" in done.stderr


@pytest.mark.parametrize(
    ("cashier", "settled", "version"),
    [
        (v1(base(1)), "X-PAYMENT-RESPONSE", 1),
        (v2(base(2)), "PAYMENT-RESPONSE", 2),
        (both(), "PAYMENT-RESPONSE", 2),
    ],
)
def test_either_version_is_paid(
    invoke: Invoke, cashier: Cashier, settled: str, version: int
) -> None:
    with on_a_thread(open_shop(cashier, settled=settled)) as shop:
        done = invoke(
            *("pay", "PUT", shop.url, "-d", "x", "-H", "X-Mine: 1", "-H", "content-type:text/csv"),
            DISPATCHD_PAY="1",
        )
        sent = [(method, body, h["X-Mine"], h["content-type"]) for method, body, h in shop.requests]
        assert sent == [("PUT", b"x", "1", "text/csv")] * 2
    assert (done.exit_code, done.stdout_bytes) == (0, shop.body), done.stderr
    assert "0xabc" in done.stderr
    assert "$0.010 (10000 of 0x" in done.stderr
    assert cashier.payments[0]["x402Version"] == version
    assert cashier.signer() == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def test_what_costs_nothing(invoke: Invoke) -> None:
    with on_a_thread(open_shop(v2())) as shop:
        free = shop.url.replace("/goods", "/free")
        done = invoke("pay", "GET", free, "--pay", "1")
        assert (done.exit_code, done.stdout) == (0, "free")
        assert "no payment" in done.stderr
        told = json.loads(invoke("pay", "GET", free, "--json").stderr)
        assert told == {"status": 200, "payment": None}
        assert len(shop.requests) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "--pay"),
        (("--pay", "1", "--max", "$0.009"), "$0.009"),
    ],
)
def test_nothing_is_signed_without_leave(invoke: Invoke, more: tuple[str, ...], said: str) -> None:
    with on_a_thread(open_shop(cashier := v2())) as shop:
        done = invoke("pay", "GET", shop.url, *more)
    assert (done.exit_code, done.stdout) == (4, "")
    assert said in done.stderr
    assert (len(shop.requests), cashier.payments) == (1, [])


def test_the_same_payment_is_sent_until_it_is_answered(invoke: Invoke) -> None:
    busy = [web.Response(status=503, headers={"Retry-After": "0"})]
    with on_a_thread(open_shop(cashier := both(), lost=1, but=busy)) as shop:
        assert invoke("pay", "POST", shop.url, "--pay", "1").exit_code == 0
    assert len(cashier.seen) == 3
    assert len(set(cashier.seen)) == 1
    assert len({headers["Idempotency-Key"] for _, _, headers in shop.requests[1:]}) == 1


def test_a_payment_that_nobody_answers(invoke: Invoke) -> None:
    with on_a_thread(open_shop(cashier := both(), lost=9)) as shop:
        done = invoke("pay", "POST", shop.url, "--pay", "1")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "paying again may pay twice" in done.stderr
    assert len(set(cashier.seen)) == 1


def test_a_refusal_is_said(invoke: Invoke) -> None:
    with on_a_thread(open_shop(cashier := v2())) as shop:
        cashier.refusals.append("invalid_exact_evm_payload_authorization_valid_before")
        done = invoke("pay", "POST", shop.url, "--pay", "1")
    assert (done.exit_code, done.stdout) == (4, "")
    assert "clock" in done.stderr


@pytest.mark.parametrize(("status", "code"), [(404, 2), (500, 3)])
def test_an_error_after_the_payment(invoke: Invoke, status: int, code: int) -> None:
    with on_a_thread(open_shop(v2(), but=[web.Response(status=status, text="sorry")])) as shop:
        done = invoke("pay", "POST", shop.url, "--pay", "1")
    assert (done.exit_code, done.stdout) == (code, "sorry")
    assert "the payment may have been taken" in done.stderr


def test_a_redirect_gets_no_payment(invoke: Invoke) -> None:
    away = web.Response(status=307, headers={"Location": "/free"})
    with on_a_thread(open_shop(v2(), but=[away])) as shop:
        assert invoke("pay", "POST", shop.url, "--pay", "1").exit_code == 0
        assert len(shop.requests) == 2


def test_nobody_there(invoke: Invoke) -> None:
    done = invoke("pay", "GET", f"http://127.0.0.1:{free_port()}/", "--pay", "1")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("GET",), "URL"),
        (("GET", "nowhere"), "nowhere"),
        (("GET", "ftp://x/"), "ftp://x/"),
        (("GET", "http://x/", "-H", "nothing"), "nothing"),
        (("GET", "http://x/", "-d", "@/no/such/file"), "/no/such/file"),
        (("GET", "http://x/", "--pay", "0"), "1 to 10"),
        (("GET", "http://x/", "--pay", "/no/such/file"), "/no/such/file"),
        (("GET", "http://x/", "--pay", "1", "--max", "much"), "much"),
    ],
)
def test_usage(invoke: Invoke, arguments: tuple[str, ...], named: str) -> None:
    done = invoke("pay", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize("command", [("pay", "GET", "http://x/"), ("submit", "llm", "x")])
def test_a_key_on_the_command_line_is_refused_and_not_repeated(
    invoke: Invoke, command: tuple[str, ...], prefix: str
) -> None:
    done = invoke(*command, "--pay", prefix + "ab" * 32)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "abab" not in done.stderr
    assert "umask 077" in done.stderr
    also = invoke(*command, DISPATCHD_PAY=prefix + "ab" * 32)
    assert also.exit_code == 2
    assert "abab" not in also.stderr


def test_a_process_of_its_own_pays(tmp_path: Path) -> None:
    with on_a_thread(open_shop(v2(), body=b"goods")) as shop:
        done = ended("pay", "GET", shop.url, "--pay", "1", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "goods"), done.stderr
