"""`--pay`: who pays for what a command buys, and what was paid."""

import importlib
from collections.abc import Mapping
from typing import Any

import click

from dispatchd.cli.coordinator import Command
from dispatchd.sdk import Payer, Payment
from dispatchd.sdk.dollars import dollars
from dispatchd.sdk.result import JobReply
from dispatchd.sdk.spending import MAX_PER_JOB, MAX_PER_SESSION

_PAY = click.option(
    "--pay",
    envvar="DISPATCHD_PAY",
    show_envvar=True,
    metavar="WALLET",
    help="Pay where that is asked for: a development wallet's number (1 to 10) or address, or a"
    " file that holds a private key.",
)
_MAX_PRICE = click.option(
    "--max-price",
    default=MAX_PER_JOB,
    show_default=True,
    metavar="DOLLARS",
    help="What one job may cost.",
)
_MAX_TOTAL = click.option(
    "--max-total",
    default=MAX_PER_SESSION,
    show_default=True,
    metavar="DOLLARS",
    help="What all jobs of this command may cost.",
)
_TOKEN = click.option(
    "--pay-token",
    multiple=True,
    metavar="ADDRESS",
    help="A token of six decimals that counts as dollars, beside USDC. Repeatable.",
)


def with_pay(command: Command) -> Command:
    """Gives a command `--pay` and `--pay-token`."""
    return _PAY(_TOKEN(command))


def with_payer(command: Command) -> Command:
    """Gives a command `--pay` and the caps."""
    return _PAY(_MAX_PRICE(_MAX_TOTAL(_TOKEN(command))))


def opened_wallet(given: Mapping[str, Any]) -> Payer | None:
    """The wallet that the options of `with_payer` name; raises `InvalidRequest`.

    Curves and hashes are loaded only where somebody pays.
    """
    if not given["pay"]:
        return None
    purse = importlib.import_module("dispatchd.cli.purse")
    caps = given["max_price"], given["max_total"]
    wallet: Payer = purse.open_wallet(given["pay"], *caps, tokens=given["pay_token"])
    return wallet


def paid_note(job: JobReply, payment: Payment | None) -> str:
    """What was paid for a job, and by which transaction; empty where nothing was."""
    if payment is None:
        return ""
    said = job.payment
    note = f"paid {dollars(payment.amount)} on {payment.network}"
    if said is None:
        return note
    if said.simulated:
        note += " (simulated)"
    return note + (f", transaction {said.transaction}" if said.transaction else f", {said.state}")
