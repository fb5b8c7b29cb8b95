"""What the fault suite shares: a worker on a node in this process, and nodes of their own."""

from collections.abc import AsyncIterator

import pytest

from tests.support.foreign import ForeignWorker, foreign_worker
from tests.support.node import Node


@pytest.fixture
async def worker(node: Node) -> AsyncIterator[ForeignWorker]:
    """Connected, but not registered."""
    async with foreign_worker(node.http, node.url) as connected:
        yield connected
