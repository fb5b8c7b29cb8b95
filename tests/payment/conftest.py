"""The ledger of a node, and the facilitator over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatchd.payment import Ledger
from dispatchd.payment.simulated import SimulatedFacilitator
from dispatchd.store.sqlite.store import open_sqlite
from tests.payment.paying import BASE_USDC, MONAD_USDC
from tests.support.clock import FakeClock


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_sqlite(tmp_path / "node.sqlite3") as store:
        yield store.ledger


@pytest.fixture
def facilitator(ledger: Ledger, clock: FakeClock) -> SimulatedFacilitator:
    return SimulatedFacilitator(ledger, clock, [MONAD_USDC, BASE_USDC])
