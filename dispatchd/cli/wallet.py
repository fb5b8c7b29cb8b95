"""`dispatchd wallet`: the ten development wallets, and simulated money."""

import asyncio
from typing import Any

import click

from dispatchd.cli.coordinator import ask, with_coordinator
from dispatchd.cli.purse import development_number, refuse_key
from dispatchd.cli.terminal import say_facts, say_json, say_table, tell
from dispatchd.payment.shapes import is_address
from dispatchd.payment.wallets import development_wallet, development_wallets
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.dollars import atomic_of, dollars
from dispatchd.sdk.errors import InvalidRequest, NetworkFailed, NotFound

_NAMES = ("WALLET", "ADDRESS", "BALANCE (SIMULATED)")
_NO_SIMULATION = "Payments are simulated by: dispatchd run --testnet --payments simulated"


@click.group()
def wallet() -> None:
    """Development wallets, and simulated money for them.

    Everybody knows their keys: never send real money there.

    Example: dispatchd wallet list
    """


@wallet.command("list")
@with_coordinator
def list_wallets(url: str, *, as_json: bool) -> None:
    """List the ten development wallets, with balances where payments are simulated.

    Example: dispatchd wallet list
    """
    try:
        answers = ask(url, _balances)
    except (NotFound, NetworkFailed) as error:
        tell(f"No balances: {error}. {_NO_SIMULATION}")
        answers = [{} for _ in development_wallets()]
    addresses = [each.address for each in development_wallets()]
    balances = [_balance(answer) for answer in answers]
    if as_json:
        token = {name: answers[0].get(name) for name in ("network", "asset")}
        rows = [
            {"number": number, "address": address, "balance": balance}
            for number, address, balance in zip(_numbers(), addresses, balances, strict=True)
        ]
        say_json({"simulated": True} | token | {"wallets": rows})
        return
    shown = [_shown(balance) for balance in balances]
    say_table(_NAMES, list(zip(map(str, _numbers()), addresses, shown, strict=True)))
    tell("Everybody knows the keys of these wallets: never send real money there.")


@wallet.command()
@click.argument("wallet", metavar="ADDRESS|NUMBER")
@click.argument("amount", metavar="DOLLARS")
@with_coordinator
def faucet(wallet: str, amount: str, url: str, *, as_json: bool) -> None:
    """Give simulated money to a wallet, on a node that simulates payments.

    Example: dispatchd wallet faucet 1 5.00
    """
    address = _address(wallet)
    atomic = atomic_of(amount)
    if atomic < 1:
        raise InvalidRequest("The amount must be more than nothing", hint="Write it like $5.00.")
    try:
        answer = ask(url, lambda coordinator: coordinator.faucet(address, atomic))
    except NotFound as error:
        sentence = f"{url} simulates no payments ({error})"
        raise NotFound(sentence, hint=f"{_NO_SIMULATION}.") from None
    if as_json:
        say_json(answer)
        return
    balance = _shown(_balance({"accounts": [answer]}))
    facts = {"address": answer.get("address"), "balance": balance, "simulated": "yes"}
    say_facts(facts | {name: answer.get(name) for name in ("network", "asset")})


def _numbers() -> range:
    return range(1, len(development_wallets()) + 1)


async def _balances(coordinator: CoordinatorClient) -> list[dict[str, Any]]:
    """What the node says of each of them."""
    questions = [
        coordinator.get("/facilitator/balances", {"address": each.address})
        for each in development_wallets()
    ]
    return await asyncio.gather(*questions)


def _balance(answer: dict[str, Any]) -> str | None:
    """Atomic units; None where the node did not say."""
    accounts = answer.get("accounts")
    first = accounts[0] if isinstance(accounts, list) and accounts else {}
    balance = first.get("balance") if isinstance(first, dict) else None
    return balance if isinstance(balance, str) and balance.isdigit() else None


def _shown(balance: str | None) -> str | None:
    return None if balance is None else dollars(int(balance))


def _address(name: str) -> str:
    """Raises `InvalidRequest`."""
    refuse_key(name)
    number = development_number(name)
    if number is None and is_address(name):
        return name
    wallets = len(development_wallets())
    if number is None or not 1 <= number <= wallets:
        hint = f"Give 0x and 40 hex digits, or a number from 1 to {wallets}."
        raise InvalidRequest(f"{name!r} is no wallet", hint=hint)
    return development_wallet(number - 1).address
