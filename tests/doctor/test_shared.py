"""What the doctor says of the database that coordinators share."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from dispatchd.core.errors import Unusable
from dispatchd.doctor import Finding
from dispatchd.doctor.shared import CHECKS
from dispatchd.store.postgres.migrate import NEWEST_VERSION
from dispatchd.store.postgres.store import open_postgres
from tests.support.deaf import deaf_proxy
from tests.support.postgres import Server

KEY = "ab" * 32
SECRET = "s3cr3t"


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.database()


async def found(url: str, *names: str) -> dict[str, Finding]:
    """What these checks find, or all of them."""
    wanted = names or tuple(CHECKS)
    return {name: await asyncio.to_thread(CHECKS[name], url) for name in wanted}


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def test_a_database_that_is_well_before_and_after_the_first_start(url: str) -> None:
    before = await found(url)
    async with open_postgres(url, KEY):
        pass
    after = await found(url)
    assert {each.state for each in (*before.values(), *after.values())} == {"ok"}
    assert "is empty" in before[""].sentence
    assert f"of version {NEWEST_VERSION}" in after[""].sentence


async def test_a_database_of_an_older_and_of_a_newer_version(url: str) -> None:
    await execute(url, "CREATE TABLE dispatchd_version (version bigint NOT NULL)")
    await execute(url, "INSERT INTO dispatchd_version VALUES (1)")
    older = (await found(url, ""))[""]
    await execute(url, "INSERT INTO dispatchd_version VALUES (99)")
    newer = (await found(url, ""))[""]
    assert (older.state, "Stop all coordinators" in older.remedy) == ("warning", True)
    assert (newer.state, "Update dispatchd" in newer.remedy) == ("failure", True)


async def test_a_pooler_that_lets_no_bell_through(url: str) -> None:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    async with deaf_proxy(Path(query["host"][0])) as port:
        through = f"postgresql://dispatchd@127.0.0.1:{port}/postgres?sslmode=disable"
        findings = await found(through, "", "bells")
        with pytest.raises(Unusable, match="pooler"):
            async with open_postgres(through, KEY):
                pass
    assert findings[""].state == "ok"
    assert (findings["bells"].state, "pooler" in findings["bells"].sentence) == ("failure", True)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/x", "does not work"),
        (f"postgresql://ann:{SECRET}#x@127.0.0.1/x", "is no address"),
        (f"postgresql://ann:{SECRET}/x@127.0.0.1/x", "is no address"),
        (f"postgresql://{SECRET}:{SECRET}@[/x", "is no address"),
    ],
)
async def test_where_there_is_nothing_the_password_stays_a_secret(address: str, said: str) -> None:
    for name, finding in (await found(address)).items():
        assert (finding.state, said in finding.sentence) == ("failure", True), (name, finding)
        assert SECRET not in finding.sentence + finding.remedy
