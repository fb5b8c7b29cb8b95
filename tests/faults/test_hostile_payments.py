"""Payments that are none, or not for this: each is refused with its reason, and costs nothing."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from dispatchd.core.payment import Offer, Reason
from dispatchd.payment.wallet import Wallet
from dispatchd.payment.wallets import development_wallet
from tests.payment.paying import BASE_USDC, MONAD_USDC, changed, high_s_twin, packed
from tests.support.crowd import PROMPT, order
from tests.support.market import Market, market
from tests.support.payer import SIGNATURE, Answer, Payer, unpacked
from tests.support.raw import raw

CHEAP_TASK = 1_000
OFFER = MONAD_USDC.offer(CHEAP_TASK, development_wallet(10).address)
PAYER, STRANGER = development_wallet(0), development_wallet(1)
OTHER = "0x" + "7" * 40
X_PAYMENT = "X-PAYMENT"
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def selling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    with market(tmp_path_factory.mktemp("market")) as selling:
        yield selling


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield http


@pytest.fixture
def payer(http: aiohttp.ClientSession, selling: Market) -> Payer:
    return Payer(http, selling.url)


@pytest.fixture(autouse=True)
def conserved(selling: Market) -> Iterator[None]:
    """No money is made or lost, whatever comes."""
    total = sum(selling.balances().values())
    yield
    assert sum(selling.balances().values()) == total


def signed(
    offer: Offer = OFFER, version: int = 2, wallet: Wallet = PAYER, *, later: int = 0
) -> dict[str, Any]:
    """A good payment's JSON, signed so many seconds from now."""
    now = int(time.time()) + later
    return unpacked(wallet.sign(offer, version, now, nonce=secrets.token_bytes(32)))


async def refused(
    selling: Market,
    payer: Payer,
    headers: Mapping[str, str],
    reason: str,
    body: dict[str, Any] | None = None,
    tier: str = "cheap",
) -> Answer:
    """A payment is refused: the reason everywhere, the offer again, no job, no money moved."""
    before = selling.balances(), await listed(payer)
    answer = await payer.commit(headers, body, tier)
    assert answer.status == 402, answer
    assert answer.body["error"] == reason, answer
    assert (answer.body["code"], answer.body["charged"]) == ("payment_refused", False)
    assert answer.body["detail"]
    asked = unpacked(answer.headers["PAYMENT-REQUIRED"])
    assert asked["error"] == reason
    assert asked["accepts"][0]["amount"] == answer.body["accepts"][0]["maxAmountRequired"]
    for name in ("PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"):
        ended = answer.ended(name)
        assert (ended["success"], ended["errorReason"]) == (False, reason)
    assert (selling.balances(), await listed(payer)) == before
    return answer


async def listed(payer: Payer) -> list[Any]:
    async with payer._http.get(f"{payer._url}/v1/jobs", params={"limit": 500}) as reply:
        return list((await reply.json())["jobs"])


A, P, V = "accepted.", "payload.authorization.", Reason
NOW = int(time.time())
NO_OBJECTS: tuple[Any, ...] = (..., None, [], "x", 1)
FIELDS: list[tuple[str, Any, str]] = [
    *(("x402Version", new, V.VERSION) for new in (..., 0, 3, "2", True, 2.5, None)),
    *(("accepted", new, V.PAYLOAD) for new in NO_OBJECTS),
    *((A + "scheme", new, V.SCHEME) for new in ("upto", "EXACT", "")),
    *((A + "network", new, V.NETWORK) for new in ("eip155:84532", "monad-testnet", "", "a:b")),
    *((A + "amount", new, V.REQUIREMENTS) for new in ("999", "1001", "0")),
    *((A + "amount", new, V.PAYLOAD) for new in (1000, "-1", "1e3", "01000", ...)),
    (A + "asset", BASE_USDC.address, V.REQUIREMENTS),
    (A + "payTo", OTHER, V.REQUIREMENTS),
    *((A + "maxTimeoutSeconds", new, V.REQUIREMENTS) for new in (1199, 1201, 0)),
    *((A + "extra", new, V.REQUIREMENTS) for new in ({}, None, ..., {"name": "USDC"})),
    (A + "extra.version", "1", V.REQUIREMENTS),
    *(("payload", new, V.PAYLOAD) for new in (*NO_OBJECTS, {})),
    *(("payload.signature", "0x" + new * 65, V.SIGNATURE) for new in ("", "00", "ff")),
    *(("payload.signature", new, V.PAYLOAD) for new in (..., 1, "0xzz", "0x1", "ab" * 65)),
    (P + "from", STRANGER.address, V.SIGNATURE),
    (P + "to", OTHER, V.RECIPIENT),
    *((P + "value", new, V.VALUE) for new in ("999", "1001", "0", str(2**256 - 1))),
    *((P + "value", new, V.PAYLOAD) for new in (str(2**256), "-1000", 1000, "1000.0")),
    (P + "validAfter", "1", V.SIGNATURE),
    (P + "validAfter", str(NOW + 3600), V.VALID_AFTER),
    (P + "validBefore", str(NOW + 1900), V.SIGNATURE),
    *((P + "validBefore", new, V.VALID_BEFORE) for new in ("0", "1", str(NOW + 600))),
    (P + "nonce", "0x" + "11" * 32, V.SIGNATURE),
    *((P + "nonce", new, V.PAYLOAD) for new in ("0x", "11" * 32, "0x" + "11" * 33)),
    *((P + name, ..., V.PAYLOAD) for name in ("from", "to", "value", "validAfter", "validBefore")),
    *((P + name, None, V.PAYLOAD) for name in ("from", "to", "value", "nonce")),
    (P + "to", "0x1", V.PAYLOAD),
    (P + "from", "me", V.PAYLOAD),
]  # fmt: skip


# By number, since some values depend on the time, and pytest-xdist compares names.
NAMES = [f"{number}-{path}" for number, (path, *_) in enumerate(FIELDS)]


@pytest.mark.parametrize(("path", "new", "reason"), FIELDS, ids=NAMES)
async def test_a_field_that_was_changed(
    selling: Market, payer: Payer, path: str, new: object, reason: str
) -> None:
    await refused(selling, payer, {SIGNATURE: packed(changed(signed(), path, new))}, reason)


OLD_FIELDS: list[tuple[str, Any, str]] = [
    ("scheme", "upto", V.SCHEME),
    ("network", "base-sepolia", V.NETWORK),
    ("network", "nowhere", V.NETWORK),
    ("x402Version", 2, V.PAYLOAD),
    (P + "to", OTHER, V.RECIPIENT),
    (P + "value", "999", V.VALUE),
    ("payload.signature", "0x" + "11" * 65, V.SIGNATURE),
]


@pytest.mark.parametrize(("path", "new", "reason"), OLD_FIELDS, ids=lambda v: str(v)[:24])
async def test_a_field_of_version_1_that_was_changed(
    selling: Market, payer: Payer, path: str, new: object, reason: str
) -> None:
    payment = changed(signed(version=1), path, new)
    await refused(selling, payer, {X_PAYMENT: packed(payment)}, reason)


def resigned(offer: Offer = OFFER, **how: Any) -> dict[str, Any]:
    """A payment that is signed well, for something else, and says that it is for what we sell."""
    payment = signed(offer, **how)
    return payment | {"accepted": signed()["accepted"]}


WELL_SIGNED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "one less": (lambda: resigned(replace(OFFER, amount=CHEAP_TASK - 1)), V.VALUE),
    "one more": (lambda: resigned(replace(OFFER, amount=CHEAP_TASK + 1)), V.VALUE),
    "to another": (lambda: resigned(replace(OFFER, pay_to=OTHER)), V.RECIPIENT),
    "another token": (lambda: resigned(replace(OFFER, asset=OTHER)), V.SIGNATURE),
    "another chain": (lambda: resigned(replace(OFFER, network="eip155:143")), V.SIGNATURE),
    "another domain": (
        lambda: resigned(replace(OFFER, extra={"name": "USDC", "version": "1"})),
        V.SIGNATURE,
    ),
    "another's": (
        lambda: changed(resigned(wallet=STRANGER), P + "from", PAYER.address),
        V.SIGNATURE,
    ),
    "expired": (lambda: signed(later=-1300), V.VALID_BEFORE),
    "too short": (lambda: signed(later=-310), V.VALID_BEFORE),
    "high s": (lambda: twin(signed()), V.SIGNATURE),
}  # fmt: skip


def twin(payment: dict[str, Any]) -> dict[str, Any]:
    signature = high_s_twin(payment["payload"]["signature"])
    return changed(payment, "payload.signature", signature)


@pytest.mark.parametrize("what", WELL_SIGNED)
async def test_a_payment_for_something_else(selling: Market, payer: Payer, what: str) -> None:
    make, reason = WELL_SIGNED[what]
    await refused(selling, payer, {SIGNATURE: packed(make())}, reason)


async def test_a_payment_that_is_just_long_enough(selling: Market, payer: Payer) -> None:
    payment = signed(later=-290)
    selling.captured((await payer.commit({SIGNATURE: packed(payment)})).job_id)


def cut(count: int) -> str:
    return packed(signed())[:-count]


JUNK = {
    "empty": "",
    "no base64": "%%%%",
    "cut base64": cut(1),
    "cut JSON": cut(8),
    "url-safe": base64.urlsafe_b64encode(b"\xff" * 30).decode(),
    "not UTF-8": base64.b64encode(b'{"a":"\xff"}').decode(),
    "no object": packed([1]),
    "nested": base64.b64encode(b"[" * 3000).decode(),
    "NaN": base64.b64encode(b'{"x402Version":NaN}').decode(),
    "a lone surrogate": base64.b64encode(b'{"x402Version":2,"a":"\\ud800"}').decode(),
}


@pytest.mark.parametrize("name", [SIGNATURE, X_PAYMENT])
@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
async def test_a_header_that_is_no_payment(
    selling: Market, payer: Payer, junk: str, name: str
) -> None:
    answer = await payer.commit({name: junk})
    assert answer.status == 402, answer
    assert answer.body["error"] in {V.PAYLOAD, V.VERSION}
    await refused(selling, payer, {name: junk}, answer.body["error"])


@pytest.mark.parametrize("name", [SIGNATURE, X_PAYMENT, "X-Anything"])
@pytest.mark.parametrize("length", [8_193, 20_000, MEGABYTE])
async def test_a_header_without_end(selling: Market, payer: Payer, name: str, length: int) -> None:
    body = json.dumps(order()).encode()
    head = f"POST /v1/jobs/commit/cheap HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    async with raw(selling.url) as peer:
        await peer.send(head.encode() + f"{name}: {'A' * length}\r\n\r\n".encode() + body)
        status, answer = await peer.reply()
    assert 400 <= status < 500
    assert answer["code"]
    assert (await payer.commit()).status == 402


async def test_a_header_twice(selling: Market, payer: Payer) -> None:
    body = json.dumps(order()).encode()
    value = packed(signed())
    twice = f"{SIGNATURE}: {value}\r\n" * 2
    async with raw(selling.url) as peer:
        await peer.send(
            b"POST /v1/jobs/commit/cheap HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n{twice}\r\n".encode()
            + body
        )
        status, answer = await peer.reply()
    assert (status, answer["error"]) == (402, "invalid_payload")


async def test_of_both_headers_the_newer_one_counts(selling: Market, payer: Payer) -> None:
    good = packed(signed())
    await refused(selling, payer, {SIGNATURE: "junk", X_PAYMENT: good}, V.PAYLOAD)
    selling.captured((await payer.commit({SIGNATURE: good, X_PAYMENT: "junk"})).job_id)


@pytest.mark.parametrize(("version", "name"), [(1, SIGNATURE), (2, X_PAYMENT)])
async def test_either_header_carries_either_version(
    selling: Market, payer: Payer, version: int, name: str
) -> None:
    selling.captured((await payer.commit({name: packed(signed(version=version))})).job_id)


async def test_a_payment_from_fifty_connections_at_one_instant(
    selling: Market, payer: Payer
) -> None:
    before = selling.balances()
    headers = {SIGNATURE: packed(signed())}
    answers = await asyncio.gather(*(payer.commit(headers) for _ in range(50)))
    (job_id,) = {answer.job_id for answer in answers}
    assert sum("Idempotent-Replay" not in answer.headers for answer in answers) == 1
    selling.captured(job_id)
    after = selling.balances()
    paid_by = PAYER.address.lower()
    assert before[paid_by] - after[paid_by] == CHEAP_TASK
    again = await payer.commit(headers)
    assert (again.job_id, again.body["payment"]["state"]) == (job_id, "captured")


async def test_a_payment_from_fifty_connections_for_as_many_jobs(
    selling: Market, payer: Payer
) -> None:
    headers = {SIGNATURE: packed(signed())}
    bodies = [order(user_id=f"user{n}") for n in range(50)]
    answers = await asyncio.gather(*(payer.commit(headers, body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [201] + [402] * 49
    reasons = {answer.body["error"] for answer in answers if answer.status == 402}
    assert reasons == {"payment_already_used"}
    (job_id,) = {answer.job_id for answer in answers if answer.status == 201}
    selling.captured(job_id)


async def test_fresh_payments_by_one_name_at_one_instant(selling: Market, payer: Payer) -> None:
    """A client that signs again for an order that it has named has ordered once."""
    before = selling.balances()
    name = {"Idempotency-Key": secrets.token_hex(8)}
    payments = [{SIGNATURE: packed(signed())} | name for _ in range(4)]
    answers = await asyncio.gather(*(payer.commit(payment) for payment in payments))
    (job_id,) = {answer.job_id for answer in answers}
    selling.captured(job_id)
    paid_by = PAYER.address.lower()
    assert before[paid_by] - selling.balances()[paid_by] == CHEAP_TASK
    other = {SIGNATURE: packed(signed(wallet=STRANGER))} | name
    answer = await payer.commit(other)
    assert answer.job_id != job_id
    selling.captured(answer.job_id)


async def test_a_cheap_payment_on_a_dear_job(selling: Market, payer: Payer) -> None:
    headers = {SIGNATURE: packed(signed())}
    answer = await refused(selling, payer, headers, V.VALUE, order(PROMPT), "fast")
    assert answer.body["accepts"][0]["amount"] == "10000"
    chat = {"messages": [{"role": "user", "content": "Hello"}]}
    answer = await payer.post("/v1/chat/completions", headers, chat)
    assert (answer.status, answer.body["error"]) == (402, V.VALUE)
    selling.captured((await payer.commit(headers)).job_id)  # where it is enough, it still is good
    await refused(selling, payer, headers, "payment_already_used", order(user_id="another"))


async def test_a_body_that_is_none_costs_nothing(selling: Market, payer: Payer) -> None:
    headers = {SIGNATURE: packed(signed())}
    for body, status in (({"job_type": "TASK"}, 400), (order(privacy_class="PRIVATE"), 422)):
        answer = await payer.commit(headers, body)
        assert (answer.status, answer.body["charged"]) == (status, False)
    selling.captured((await payer.commit(headers)).job_id)


def fresh(selling: Market, http: aiohttp.ClientSession, amount: int) -> Payer:
    """Somebody new, with so much money."""
    payer = Payer(http, selling.url, Wallet.from_key(secrets.token_hex(32)))
    wanted = {"address": payer.wallet.address, "amount": str(amount)}
    assert selling.client.json("POST", "/facilitator/faucet", wanted)[0] == 200
    return payer


class TestDrained:
    """Who has no money, or not any more."""

    @pytest.fixture(autouse=True)
    def conserved(self) -> None:
        """The faucet makes money here."""

    async def test_a_wallet_with_too_little(
        self, selling: Market, http: aiohttp.ClientSession
    ) -> None:
        poor = fresh(selling, http, CHEAP_TASK - 1)
        await refused(selling, poor, await poor.signed(), "insufficient_funds")

    async def test_a_wallet_that_pays_for_one_of_many(
        self, selling: Market, http: aiohttp.ClientSession
    ) -> None:
        """Nobody gets more than they pay for, and nobody owes anything."""
        poor = fresh(selling, http, CHEAP_TASK)
        payments = [await poor.signed() for _ in range(4)]
        total = sum(selling.balances().values())
        answers = await asyncio.gather(*(poor.commit(payment) for payment in payments))
        made = [answer.job_id for answer in answers if answer.status == 201]
        ends = [await self.end(selling, job_id) for job_id in made]
        assert sorted(end["payment"]["state"] for end in ends).count("captured") == 1
        for end in ends:
            if end["payment"]["state"] != "captured":
                assert end["result"] == {"error": "payment_failed"}
        assert selling.balances()[poor.wallet.address.lower()] == 0
        assert sum(selling.balances().values()) == total
        await refused(selling, poor, await poor.signed(), "insufficient_funds")

    async def end(self, selling: Market, job_id: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (found := selling.client.job(job_id))["status"] not in {"completed", "failed"}:
                await asyncio.sleep(0.02)
        return found


async def test_only_so_many_payments_may_be_open(
    selling: Market, http: aiohttp.ClientSession, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with market(tmp_path_factory.mktemp("idle"), "--no-worker") as idle:
        payer = Payer(http, idle.url)
        payments = [await payer.signed() for _ in range(12)]
        answers = await asyncio.gather(*(payer.commit(payment) for payment in payments))
        assert sorted(answer.status for answer in answers) == [201] * 4 + [429] * 8
        late = next(answer for answer in answers if answer.status == 429)
        assert (late.body["code"], late.body["charged"]) == ("too_many_open_payments", False)
        assert int(late.headers["Retry-After"]) >= 1
        for payment, answer in zip(payments, answers, strict=True):
            assert (await payer.commit(payment)).status == answer.status
