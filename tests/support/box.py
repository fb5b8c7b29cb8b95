"""The facilitator in the box, with a ledger of its own, on a real port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from dispatchd.api.facilitator import FacilitatorRoutes
from dispatchd.core.clock import SystemClock
from dispatchd.core.limits import Limits
from dispatchd.payment.simulated import SimulatedFacilitator
from dispatchd.payment.tokens import find_token
from dispatchd.payment.wallets import fund_development_wallets
from dispatchd.store.sqlite.store import open_sqlite
from tests.payment.serving import serving


@asynccontextmanager
async def running_box(folder: Path) -> AsyncIterator[str]:
    """Its address; the development wallets have money on Monad's testnet and Base Sepolia."""
    tokens = [find_token("eip155:10143"), find_token("eip155:84532")]
    async with open_sqlite(folder / "box.sqlite3") as store:
        for token in tokens:
            await fund_development_wallets(store.ledger, token)
        facilitator = SimulatedFacilitator(store.ledger, SystemClock(), tokens)
        app = web.Application()
        FacilitatorRoutes(facilitator, store.ledger, tokens, Limits()).add_to(app.router)
        async with serving(app) as url:
            yield url
