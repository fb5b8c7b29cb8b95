"""Every store, under the same tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from dispatchd.store.postgres.store import open_postgres
from dispatchd.store.sql.store import SqlStore
from dispatchd.store.sqlite.store import open_sqlite
from tests.support.postgres import Server

KEY = "ab" * 32

OpenAgain = Callable[[], AbstractAsyncContextManager[SqlStore]]


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenAgain:
    """Opens the same store each time."""
    if request.param == "sqlite":
        return lambda: open_sqlite(tmp_path / "jobs.sqlite3")
    server: Server = request.getfixturevalue("postgres")
    url = server.database()
    return lambda: open_postgres(url, KEY)


@pytest.fixture
async def store(open_store: OpenAgain) -> AsyncIterator[SqlStore]:
    async with open_store() as opened:
        yield opened
