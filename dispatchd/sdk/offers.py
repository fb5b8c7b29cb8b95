"""What a 402 asks for: the first offer that a wallet can pay, or what is missing in each.

Beside versions 1 and 2 of x402 it reads what the protocol's first guide shows: a body with a price
in dollars, from which a known token's amount and domain follow.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import replace

from dispatchd.core.errors import PaymentRefused
from dispatchd.core.payment import EVM, SOLANA, Offer
from dispatchd.payment.chains import caip2_of, chain_id, is_testnet
from dispatchd.payment.demand import BODY_BYTES_MAX, Demand
from dispatchd.payment.header import decode_header
from dispatchd.payment.offer import PAYMENT_REQUIRED
from dispatchd.payment.terms import parse_offer
from dispatchd.payment.tokens import MAX_TIMEOUT_SECONDS
from dispatchd.sdk import Bill
from dispatchd.sdk.coins import known_coin
from dispatchd.sdk.dollars import atomic_of
from dispatchd.sdk.errors import CannotPay, InvalidRequest

WINDOW_SECONDS_MAX = 3600
"""No payment is signed that could be taken later than that, whatever an offer asks for."""
_V1, _V2 = 1, 2
_EIP3009 = "eip3009"
_DOMAIN = ("name", "version")


class _Unpayable(Exception):
    """Why one offer cannot be paid."""


def payable_offer(bill: Bill, tokens: Collection[str]) -> Demand:
    """The first offer that can be paid, on the bill's network where it names one.

    `tokens` are those that count as dollars beside the known ones, by address in lower case.
    Raises `CannotPay` with what is wrong with each.
    """
    asked = _asked(bill)
    accepts = asked.get("accepts")
    offers = [one for one in accepts if isinstance(one, dict)] if isinstance(accepts, list) else []
    version = asked.get("x402Version", _V1)
    if type(version) is not int or version not in {_V1, _V2} or not offers:
        raise CannotPay("There is a price, but no offer of x402, version 1 or 2", offers)
    problems = []
    for number, offer in enumerate(offers, 1):
        try:
            demand = _demand(asked, version, offer)
            _check(demand.offer, bill.network, tokens)
        except _Unpayable as problem:
            problems.append(f"offer {number}: {problem}" if len(offers) > 1 else str(problem))
        else:
            return demand
    raise CannotPay(f"This cannot be paid here: {'; '.join(problems)}", offers)


def _asked(bill: Bill) -> dict[str, Any]:
    """What the header says, else the body."""
    headers = {name.upper(): value for name, value in bill.headers.items()}
    try:
        if PAYMENT_REQUIRED in headers:
            return decode_header(headers[PAYMENT_REQUIRED], PAYMENT_REQUIRED)
        body = json.loads(bill.body if len(bill.body) <= BODY_BYTES_MAX else "")
    except (PaymentRefused, ValueError, RecursionError):
        body = None
    return body if isinstance(body, dict) else {}


def _demand(asked: Mapping[str, Any], version: int, offer: dict[str, Any]) -> Demand:
    if offer.get("scheme") != "exact":
        raise _Unpayable(f"the scheme {offer.get('scheme')!r} is not known")
    name = offer.get("network")
    network = caip2_of(name) if isinstance(name, str) else None
    if network is None:
        raise _Unpayable(f"the network {name!r} is not known")
    if network.startswith(f"{SOLANA}:"):
        raise _Unpayable("the SDK pays on EVM chains, and cannot pay on Solana")
    try:
        found = parse_offer(_completed(offer, version, network), version)
    except PaymentRefused as refused:
        raise _Unpayable(refused.detail) from None
    lasting = min(found.max_timeout_seconds, WINDOW_SECONDS_MAX)
    return Demand(
        version=version,
        offer=replace(found, max_timeout_seconds=lasting),
        network_name=str(name),
        accepted=offer,
        resource=asked.get("resource"),
        extensions=asked.get("extensions"),
    )


def _completed(offer: dict[str, Any], version: int, network: str) -> dict[str, Any]:
    """The offer with what follows from the rest of it; raises `_Unpayable` for what does not."""
    coin = known_coin(network, str(offer.get("asset")))
    amount = offer.get("maxAmountRequired" if version == _V1 else "amount") or offer.get("amount")
    if amount is None and coin is not None and "price" in offer:
        amount = _priced(offer["price"])
    given = {
        "asset": offer.get("asset"),
        "payTo": offer.get("payTo"),
        "maxAmountRequired" if version == _V1 else "amount": amount,
    }
    if missing := [name for name, value in given.items() if value is None]:
        raise _Unpayable(f"{', '.join(missing)} missing")
    filled: dict[str, Any] = {"network": network}
    filled["maxTimeoutSeconds"] = offer.get("maxTimeoutSeconds", MAX_TIMEOUT_SECONDS)
    extra = offer.get("extra") or {}
    if coin is not None and isinstance(extra, dict):
        extra = {"name": coin.name, "version": coin.version} | extra
    return offer | given | filled | {"extra": extra}


def _priced(price: object) -> str:
    try:
        return str(atomic_of(str(price)))
    except InvalidRequest as error:
        raise _Unpayable(str(error)) from None


def _check(offer: Offer, network: str, tokens: Collection[str]) -> None:
    """The offer can be signed, means the wanted network, and its amount means dollars."""
    wanted = caip2_of(network)
    if wanted is not None and wanted != offer.network:
        raise _Unpayable(f"it is for {offer.network}, and the quote was for {wanted}")
    if chain_id(offer.network) is None:
        raise _Unpayable(f"{offer.network} names no {EVM} chain")
    if missing := [f"extra.{name}" for name in _DOMAIN if name not in offer.extra]:
        raise _Unpayable(f"{', '.join(missing)} missing (the token's EIP-712 domain)")
    if offer.extra.get("assetTransferMethod", _EIP3009) != _EIP3009:
        raise _Unpayable(f"it wants {offer.extra['assetTransferMethod']}, not {_EIP3009}")
    known = known_coin(offer.network, offer.asset) or is_testnet(offer.network)
    if not known and offer.asset.lower() not in tokens:
        raise _Unpayable(f"the token {offer.asset} on {offer.network} is not known to be dollars")
