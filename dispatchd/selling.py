"""Builds what a node has besides where it sells its jobs. Only such a node loads this."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from msgspec import Struct

from dispatchd.api.app import Market, Routes
from dispatchd.api.facilitator import FacilitatorRoutes
from dispatchd.api.paid_gate import PaidGate
from dispatchd.config import PaymentConfig
from dispatchd.coordinator.captures import Captures
from dispatchd.coordinator.intake import Sales
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.till import Terms, Till
from dispatchd.core.clock import Clock
from dispatchd.core.limits import Limits
from dispatchd.feed import Feed
from dispatchd.payment import Facilitator
from dispatchd.payment.remote import HttpFacilitator
from dispatchd.payment.simulated import SimulatedFacilitator
from dispatchd.payment.tokens import Token, find_token
from dispatchd.payment.wallets import (
    SEED_PHRASE,
    development_wallet,
    development_wallets,
    fund_development_wallets,
)
from dispatchd.store.sql.store import SqlStore

_FIRST_FREE_WALLET = 10


class Notice(Struct, frozen=True):
    """What is said of payments when a node starts; `wallets` are there where they are simulated."""

    asset: str
    pay_to: str
    facilitator: str | None
    wallets: tuple[str, ...]
    seed_phrase: str


class Shop(Struct, frozen=True):
    """What one network's node sells with."""

    facilitator: Facilitator
    terms: Terms
    market: Market
    notice: Notice
    store: SqlStore
    clock: Clock
    limits: Limits

    def sales(self, matching: Matching, feed: Feed, owed: asyncio.Event) -> Sales:
        """The till and the captures of a coordinator."""
        payments = self.store.payments
        till = Till(payments, self.facilitator, self.terms, self.clock, self.limits)
        captures = Captures(
            payments, self.store.jobs, self.facilitator, matching, feed, self.clock, owed
        )
        return Sales(till, captures)


@asynccontextmanager
async def open_shop(
    config: PaymentConfig, store: SqlStore, clock: Clock, limits: Limits
) -> AsyncIterator[Shop]:
    """Everything for selling jobs on one network; raises `Unusable` for options that cannot be."""
    token = find_token(config.network, config.asset)
    if config.facilitator is None:
        box = SimulatedFacilitator(store.ledger, clock, [token])
        await fund_development_wallets(store.ledger, token)
        routes = FacilitatorRoutes(box, store.ledger, [token], limits)
        yield _shop(config, token, box, (routes,), store, clock, limits)
        return
    # No limit: a capture must never wait for a connection behind those who only ask.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        far = HttpFacilitator(config.facilitator, session)
        yield _shop(config, token, far, (), store, clock, limits)


def _shop(
    config: PaymentConfig,
    token: Token,
    facilitator: Facilitator,
    routes: tuple[Routes, ...],
    store: SqlStore,
    clock: Clock,
    limits: Limits,
) -> Shop:
    simulated = config.facilitator is None
    pay_to = config.pay_to or development_wallet(_FIRST_FREE_WALLET).address
    token.check_payee(pay_to)
    gate = PaidGate(
        simulated=simulated,
        legacy_names=config.legacy_names,
        behind_proxy=config.behind_proxy,
    )
    wallets = tuple(wallet.address for wallet in development_wallets()) if simulated else ()
    return Shop(
        facilitator=facilitator,
        terms=Terms(token, pay_to, simulated=simulated),
        market=Market(gate, routes, (gate.preflight,), (gate.open_to_browsers,)),
        notice=Notice(token.address, pay_to, config.facilitator, wallets, SEED_PHRASE),
        store=store,
        clock=clock,
        limits=limits,
    )
