"""Nodes that sell their jobs, and what buyers and a facilitator do with them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from dispatchd.config import PaymentConfig
from dispatchd.core.clock import Clock
from dispatchd.core.limits import Limits
from dispatchd.payment import Facilitator
from dispatchd.selling import Shop, open_shop
from dispatchd.store.sql.store import SqlStore
from tests.selling.buying import ANSWER, Market
from tests.selling.desk import Desk
from tests.support.clock import FakeClock
from tests.support.executors import Instant
from tests.support.node import running_node

MONAD = PaymentConfig(
    network="eip155:10143",
    pay_to=None,
    asset=None,
    facilitator=None,
    legacy_names=False,
    behind_proxy=False,
)


@asynccontextmanager
async def shop_with(
    desk: Facilitator | None,
    config: PaymentConfig,
    store: SqlStore,
    clock: Clock,
    limits: Limits,
) -> AsyncIterator[Shop]:
    """A shop, perhaps with a facilitator that a test controls; a desk stands before its own."""
    async with open_shop(config, store, clock, limits) as shop:
        if isinstance(desk, Desk):
            desk.box = shop.facilitator
        yield shop if desk is None else replace(shop, facilitator=desk)


@asynccontextmanager
async def selling(
    folder: Path,
    clock: FakeClock,
    desk: Facilitator | None = None,
    config: PaymentConfig = MONAD,
    limits: Limits | None = None,
) -> AsyncIterator[Market]:
    """A node that sells, for as long as the block runs."""
    opening = partial(shop_with, desk, config)
    database = folder / "jobs.sqlite3"
    async with running_node(database, clock, limits, opening=opening) as node:
        yield Market(node, database)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def market(tmp_path: Path, clock: FakeClock, desk: Desk) -> AsyncIterator[Market]:
    async with selling(tmp_path, clock, desk) as market:
        yield market


@pytest.fixture
async def distrusted(market: Market, desk: Desk) -> Market:
    """Alice's last payment was refused when it was to be captured."""
    desk.settling = ["insufficient_funds"]
    async with market.worker(Instant(ANSWER)):
        await market.node.until(await market.buy(), "failed")
    desk.asked.clear()
    return market
