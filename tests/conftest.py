"""Fixtures that several folders of tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.node import Node, running_node


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def node(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Node]:
    async with running_node(tmp_path / "jobs.sqlite3", clock) as running:
        yield running
