"""The ledger of simulated money: what goes in stays in, and moves once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatchd.core.errors import DispatchError, Invalid, PaymentRefused
from dispatchd.core.payment import AuthorizationKey, TokenId
from dispatchd.payment import Ledger
from dispatchd.store.sql.ledger import SUPPLY_MAX
from dispatchd.store.sql.store import SqlStore
from dispatchd.store.sqlite.store import open_sqlite
from tests.store.conftest import OpenAgain

USDC = TokenId("eip155:10143", "0x" + "cc" * 20)
EURC = TokenId("eip155:10143", "0x" + "ee" * 20)
NO_ONE = "0x" + "0" * 40
ALICE, BOB, CAROL = ("0x" + letter * 40 for letter in "abc")


@pytest.fixture
def ledger(store: SqlStore) -> Ledger:
    return store.ledger


def key(nonce: int = 1, payer: str = ALICE, token: TokenId = USDC) -> AuthorizationKey:
    return AuthorizationKey(token.network, token.address, payer, f"0x{nonce:064x}")


async def test_an_account_that_nobody_opened_is_empty(ledger: Ledger) -> None:
    assert await ledger.balance(USDC, ALICE) == 0
    assert await ledger.accounts(USDC) == []
    assert await ledger.transaction_of(key()) is None


async def test_the_faucet_mints_and_a_transfer_moves(ledger: Ledger) -> None:
    assert await ledger.fund(USDC, "0x" + ALICE[2:].upper(), 70) == 70
    assert await ledger.fund(USDC, ALICE, 30) == 100
    assert await ledger.transfer(key(), BOB, 40, "0x1") == "0x1"
    assert await ledger.accounts(USDC) == [(ALICE, 60), (BOB, 40)]
    assert await ledger.accounts(USDC, limit=1) == [(ALICE, 60)]
    assert await ledger.accounts(EURC) == []
    assert await ledger.transaction_of(key()) == "0x1"
    assert await ledger.balance(USDC, NO_ONE) == 0


async def test_an_authorization_moves_money_once(ledger: Ledger) -> None:
    await ledger.fund(USDC, ALICE, 100)
    assert await ledger.transfer(key(), BOB, 60, "0x1") == "0x1"
    assert await ledger.transfer(key(), BOB, 60, "0x1") == "0x1"
    with pytest.raises(PaymentRefused, match="nonce_already_used"):
        await ledger.transfer(key(), BOB, 60, "0x2")
    assert await ledger.accounts(USDC) == [(ALICE, 40), (BOB, 60)]


async def test_a_nonce_is_used_by_one_payer_of_one_token(ledger: Ledger) -> None:
    for token in (USDC, EURC):
        for payer in (ALICE, BOB):
            await ledger.fund(token, payer, 10)
            await ledger.transfer(key(1, payer, token), CAROL, 10, f"{token} {payer}")
        assert await ledger.balance(token, CAROL) == 20


async def test_fifty_at_once_move_money_once(ledger: Ledger) -> None:
    await ledger.fund(USDC, ALICE, 100)
    same = [ledger.transfer(key(), BOB, 7, "0x1") for _ in range(50)]
    assert set(await asyncio.gather(*same)) == {"0x1"}
    assert await ledger.accounts(USDC) == [(ALICE, 93), (BOB, 7)]


@pytest.mark.parametrize("amount", [101, SUPPLY_MAX, SUPPLY_MAX + 1, 2**256 - 1])
async def test_nobody_pays_more_than_they_have(ledger: Ledger, amount: int) -> None:
    await ledger.fund(USDC, ALICE, 100)
    with pytest.raises(PaymentRefused, match="insufficient_funds"):
        await ledger.transfer(key(), BOB, amount, "0x1")
    with pytest.raises(PaymentRefused, match="insufficient_funds"):
        await ledger.transfer(key(1, NO_ONE), BOB, 1, "0x1")
    assert await ledger.transaction_of(key()) is None
    assert await ledger.transfer(key(), BOB, 100, "0x1") == "0x1"


async def test_nothing_goes_to_the_zero_address(ledger: Ledger) -> None:
    await ledger.fund(USDC, ALICE, 100)
    with pytest.raises(PaymentRefused, match="invalid_transaction_state"):
        await ledger.transfer(key(), NO_ONE, 1, "0x1")
    with pytest.raises(Invalid, match="zero address"):
        await ledger.fund(USDC, NO_ONE, 1)


async def test_paying_oneself_changes_nothing_but_the_nonce(ledger: Ledger) -> None:
    await ledger.fund(USDC, ALICE, 5)
    await ledger.transfer(key(), ALICE, 5, "0x1")
    assert await ledger.accounts(USDC) == [(ALICE, 5)]
    assert await ledger.transaction_of(key()) == "0x1"


async def test_no_more_is_minted_than_can_be_counted(ledger: Ledger) -> None:
    await ledger.fund(USDC, ALICE, SUPPLY_MAX - 1)
    with pytest.raises(Invalid, match="1 at the most"):
        await ledger.fund(USDC, BOB, 2)
    await ledger.fund(USDC, BOB, 1)
    assert await ledger.transfer(key(), BOB, SUPPLY_MAX - 1, "0x1") == "0x1"
    assert await ledger.balance(USDC, BOB) == SUPPLY_MAX
    for amount in (0, -1, 2**256):
        with pytest.raises(Invalid):
            await ledger.fund(EURC, BOB, amount)


async def test_money_outlives_the_process(open_store: OpenAgain) -> None:
    for _ in range(2):
        async with open_store() as store:
            if not await store.ledger.accounts(USDC):
                await store.ledger.fund(USDC, ALICE, 5)
                await store.ledger.transfer(key(), BOB, 2, "0x1")
    async with open_store() as store:
        assert await store.ledger.accounts(USDC) == [(ALICE, 3), (BOB, 2)]
        assert await store.ledger.transfer(key(), BOB, 2, "0x1") == "0x1"


people = st.sampled_from([ALICE, BOB, CAROL])
amounts = st.integers(0, 12) | st.sampled_from([SUPPLY_MAX, 2**256 - 1])
funding = st.tuples(st.just("fund"), people, amounts)
paying = st.tuples(st.just("pay"), people, people, amounts, st.integers(1, 4))
rounds = st.lists(st.lists(funding | paying, max_size=8), max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds)
def test_money_is_conserved(tmp_path_factory: pytest.TempPathFactory, rounds: list[Any]) -> None:
    """Whatever is done at once, by whom, and however often: money only moves."""
    asyncio.run(_conserved(tmp_path_factory.mktemp("ledger") / "l.sqlite3", rounds))


async def _conserved(path: Path, rounds: list[list[tuple[Any, ...]]]) -> None:
    model = Model()
    async with open_sqlite(path) as store:
        for operations in rounds:
            doing = [_do(store.ledger, operation) for operation in operations]
            done = await asyncio.gather(*doing, return_exceptions=True)
            # What comes at once is done in the order of its coming.
            for operation, outcome in zip(operations, done, strict=True):
                assert model.do(operation) == _said(outcome), operation
            held = dict(await store.ledger.accounts(USDC))
            assert {who: held.get(who, 0) for who in model.balances} == model.balances
            assert sum(held.values()) == model.minted


async def _do(ledger: Ledger, operation: tuple[Any, ...]) -> object:
    if operation[0] == "fund":
        return await ledger.fund(USDC, *operation[1:])
    _, payer, to, amount, nonce = operation
    return await ledger.transfer(key(nonce, payer), to, amount, f"{to} {amount}")


def _said(outcome: object) -> object:
    if isinstance(outcome, PaymentRefused):
        return outcome.reason
    return outcome.code if isinstance(outcome, DispatchError) else outcome


class Model:
    """The ledger in a few lines of arithmetic."""

    def __init__(self) -> None:
        self.balances = dict.fromkeys((ALICE, BOB, CAROL), 0)
        self.used: dict[tuple[str, int], str] = {}
        self.minted = 0

    def do(self, operation: tuple[Any, ...]) -> object:
        """What must come of it."""
        do = self._fund if operation[0] == "fund" else self._pay
        return do(*operation[1:])

    def _fund(self, who: str, amount: int) -> object:
        if not 0 < amount <= SUPPLY_MAX - self.minted:
            return "invalid"
        self.minted += amount
        self.balances[who] += amount
        return self.balances[who]

    def _pay(self, payer: str, to: str, amount: int, nonce: int) -> object:
        transaction = f"{to} {amount}"
        if (payer, nonce) in self.used:
            same = self.used[payer, nonce] == transaction
            return transaction if same else "invalid_exact_evm_nonce_already_used"
        if self.balances[payer] < amount:
            return "insufficient_funds"
        self.used[payer, nonce] = transaction
        self.balances[payer] -= amount
        self.balances[to] += amount
        return transaction
