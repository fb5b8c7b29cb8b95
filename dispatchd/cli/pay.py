"""`dispatchd pay`: any x402 server, paid once."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import click

from dispatchd.cli.coordinator import with_json
from dispatchd.cli.given import read_text
from dispatchd.cli.payer import opened_wallet, with_pay
from dispatchd.cli.terminal import json_text, say, tell
from dispatchd.sdk import Payment
from dispatchd.sdk.dollars import dollars
from dispatchd.sdk.errors import BadReply, InvalidRequest, SpendingCapReached
from dispatchd.sdk.http import new_session
from dispatchd.sdk.purchase import Purchase, Wish, purchase

_MAX = "$0.10"
_BAD_REQUEST, _SERVER_ERROR = 400, 500


@click.command()
@click.argument("method")
@click.argument("url")
@click.option("-d", "--data", metavar="BODY|-|@FILE", help="The request's body.")
@click.option("-H", "--header", "lines", multiple=True, metavar="NAME: VALUE", help="Repeatable.")
@click.option(
    "--max", "most", default=_MAX, show_default=True, metavar="DOLLARS", help="What it may cost."
)
@with_pay
@with_json
def pay(method: str, url: str, *, as_json: bool, **given: Any) -> None:
    """Send a request to any x402 server, and pay for it once.

    The body of the answer goes to stdout, how the payment ended to stderr (with --json, as JSON). A
    body is JSON unless a header says otherwise. Where the answer to a paid request is lost, the
    same payment is sent again; a second one is never signed. Redirects are not followed.

    Example: dispatchd pay GET https://example.com/weather --pay wallet.key --max '$0.01'
    """
    body = None if given["data"] is None else read_text(given["data"]).encode()
    wish = Wish(method.upper(), url, body, _headers(given["lines"], has_body=body is not None))
    caps = {"max_price": given["most"], "max_total": given["most"]}
    wallet = opened_wallet(given | caps)

    async def bought() -> Purchase:
        async with new_session() as session:
            try:
                return await purchase(session, wish, wallet)
            except SpendingCapReached as error:
                error.hint = "Raise --max to pay more."
                raise

    got = asyncio.run(bought())
    _say_body(got)
    _tell_payment(got, as_json=as_json)
    if got.status >= _BAD_REQUEST:
        kind = BadReply if got.status >= _SERVER_ERROR else InvalidRequest
        more = "; the payment may have been taken" if got.payment else ""
        raise kind(f"{url} answers {got.status}{more}")


def _headers(lines: Sequence[str], *, has_body: bool) -> dict[str, str]:
    given: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or any(mark in line for mark in "\r\n"):
            raise InvalidRequest(f"{line!r} is no header", hint="Write it like 'Accept: text/csv'.")
        given[name.strip()] = value.strip()
    if has_body and "content-type" not in {name.lower() for name in given}:
        given["Content-Type"] = "application/json"
    return given


def _say_body(got: Purchase) -> None:
    """As it came; on a terminal, as a text that cannot play with it."""
    if sys.stdout.isatty():
        say(got.body.decode("utf-8", "replace"))
    else:
        sys.stdout.buffer.write(got.body)
        sys.stdout.buffer.flush()


def _tell_payment(got: Purchase, *, as_json: bool) -> None:
    if as_json:
        told = {"status": got.status, "payment": got.payment and _facts(got.payment, got)}
        click.echo(json_text(told), err=True)
    elif got.payment is None:
        tell("The server asked for no payment.")
    else:
        amount = f"{dollars(got.payment.amount)} ({got.payment.amount} of {got.payment.asset})"
        transaction = (got.settlement or {}).get("transaction")
        if transaction:
            tell(f"Paid {amount} on {got.payment.network}, transaction {transaction}")
        else:
            tell(
                f"Sent a payment of {amount} on {got.payment.network}; no transaction is named yet"
            )


def _facts(payment: Payment, got: Purchase) -> dict[str, Any]:
    return {
        "amount": str(payment.amount),
        "asset": payment.asset,
        "network": payment.network,
        "settlement": got.settlement,
    }
