"""`dispatchd store`: everything moves from a file to a shared database, or nothing does."""

import asyncio
import json
from pathlib import Path
from subprocess import CompletedProcess

import asyncpg
import pytest
from msgspec.structs import replace

from dispatchd.core.job import Completion, Grant, IdempotencyKey, Job, JobType, Lease, Privacy, Tier
from dispatchd.core.payment import AuthorizationKey, Offer, Payment, PaymentState, TokenId
from dispatchd.core.record import Blame
from dispatchd.core.standing import Blamed, Strikes
from dispatchd.core.trust import PairingCode
from dispatchd.store.postgres.store import open_postgres
from dispatchd.store.sql.store import SqlStore
from dispatchd.store.sqlite.store import open_sqlite
from tests.support.postgres import Server
from tests.support.process import ended

pytestmark = pytest.mark.long

KEY, OWNER = "ab" * 32, "cd" * 32
DONE = Completion('{"é":1}', "sha256:00", '{"job_id":"x"}', "c2ln")
TOKEN = TokenId("eip155:10143", "0x" + "cc" * 20)
ALICE = "0x" + "a" * 40


def job(number: int, privacy: Privacy = Privacy.PUBLIC) -> Job:
    return Job(
        id=f"job-{number}",
        job_type=JobType.TASK,
        tier=Tier.CHEAP,
        privacy=privacy,
        user_id="ann",
        payload=f'{{"n":{number},"s":"“é\\u0000”"}}',
        created_at=number,
        rank=number,
        extended=number % 2 == 0,
    )


def payment(number: int) -> Payment:
    return Payment(
        key=AuthorizationKey(TOKEN.network, TOKEN.address, ALICE, f"0x{number:064x}"),
        state=PaymentState.VERIFYING,
        job_id=f"job-{number}",
        offer=Offer(
            network=TOKEN.network,
            asset=TOKEN.address,
            amount=5,
            pay_to=ALICE,
            max_timeout_seconds=60,
            extra={},
        ),
        digest="d",
        fingerprint="f",
        created_at=1,
        text="{}",
    )


def blamed(blame: Blame) -> Blamed:
    return Blamed(blame, lambda _: Strikes(1, 2, 3, 4, 5))


async def fill(store: SqlStore) -> None:
    """Something in every table, and jobs in every state."""
    await store.chain.begin(OWNER)
    for number in range(40):
        grant = Grant(job(number), KEY, 5000, 9000)
        await store.jobs.add(grant.job, IdempotencyKey("ann", f"k{number}", "f", 0), grant=grant)
    held = [Grant(job(number), KEY, 5000, 9000).leased for number in range(40)]
    await asyncio.gather(*(store.jobs.finish(each, DONE, at=7) for each in held[:33]))
    await store.jobs.fail(held[33], "broken", blamed(Blame.REJECTED))
    await store.jobs.put_back(Lease("job-34", 1), replace(held[34], faults=1), blamed(Blame.LOST))
    await store.jobs.check()
    await store.jobs.add(job(50, Privacy.PRIVATE))
    await store.payments.reserve(payment(51), 4)
    paid = replace(job(51), payment_ref=payment(51).key.reference, end_by=99)
    await store.jobs.add(paid, paid_with=payment(51).key, open_payments_max=4)
    await store.trust.add_code(PairingCode("A3F2B1", "ann", 2000), now=1)
    await store.trust.add_code(PairingCode("A3F2B2", "ann", 2000), now=1)
    await store.trust.claim_code("A3F2B1", KEY, now=2)
    await store.users.put_key("ann", bytes(32), None, 1)
    await store.ledger.fund(TOKEN, ALICE, 100)
    await store.ledger.transfer(payment(9).key, "0x" + "b" * 40, 40, "0x1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "monad.sqlite3"

    async def make() -> None:
        async with open_sqlite(path) as store:
            await fill(store)

    asyncio.run(make())
    return path


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.database()


def run(home: Path, *arguments: str) -> CompletedProcess[str]:
    return ended("store", *arguments, home=home)


def move(file: Path, url: str) -> CompletedProcess[str]:
    return run(file.parent, "migrate", "--from", f"sqlite:{file}", "--to", url, "--json")


def test_everything_moves_and_goes_on_there(file: Path, url: str) -> None:
    moved = move(file, url)
    assert moved.returncode == 0, moved.stderr
    counts = json.loads(moved.stdout)
    assert (counts["jobs"], counts["chain_entries"], counts["payments"]) == (42, 33, 1)
    assert counts["idempotency_keys"] == 40
    assert all(counts.values())
    asyncio.run(_goes_on(file, url))
    for address in (f"sqlite:{file}", url):
        found = run(file.parent, "check", "--store", address, "--json")
        assert found.returncode == 0, found.stdout
        assert json.loads(found.stdout)["faults"] == []


async def _goes_on(file: Path, url: str) -> None:
    async with open_sqlite(file) as there, open_postgres(url, OWNER) as here:
        for number in (0, 33, 34, 35, 50, 51):
            assert await here.jobs.get(f"job-{number}") == await there.jobs.get(f"job-{number}")
        assert await here.chain.root() == await there.chain.root()
        assert await here.chain.page(0, 99) == await there.chain.page(0, 99)
        assert await here.records.standing(KEY) == await there.records.standing(KEY)
        assert await here.users.all() == await there.users.all()
        assert await here.ledger.accounts(TOKEN) == await there.ledger.accounts(TOKEN)
        assert await here.payments.of_job("job-51") == await there.payments.of_job("job-51")
        pairing = await here.trust.claim_code("A3F2B2", KEY, now=3)  # the secret has moved as well
        assert pairing.user_id == "ann"
        await here.jobs.add(job(60))
        grant = Grant(job(60), KEY, 5000, 9000)
        assert await here.jobs.assign([grant]) == [True]
        await here.jobs.finish(grant.leased, DONE, at=8)
        assert (await here.chain.root()).size == 34


def test_a_database_that_is_not_empty_or_a_file_in_use_is_refused(file: Path, url: str) -> None:
    async def while_open() -> CompletedProcess[str]:
        async with open_sqlite(file):
            return await asyncio.to_thread(move, file, url)

    refused = asyncio.run(while_open())
    assert refused.returncode == 2
    assert "Another dispatchd uses" in refused.stderr
    assert move(file, url).returncode == 0
    again = move(file, url)
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_nothing_moves_while_coordinators_use_the_database(file: Path, url: str) -> None:
    async def while_open() -> CompletedProcess[str]:
        async with open_postgres(url, OWNER):
            return await asyncio.to_thread(move, file, url)

    refused = asyncio.run(while_open())
    assert refused.returncode == 2
    assert "Coordinators use the database" in refused.stderr


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE jobs SET payload = '{}' WHERE id = 'job-20'", "its job is another"),
        ("UPDATE jobs SET receipt = '{}' WHERE id = 'job-20'", "another receipt"),
        ("DELETE FROM chains_entries WHERE sequence = 5", "it is missing"),
        ("DELETE FROM chains_entries WHERE sequence = 33", "the chain's head"),
        ("UPDATE ledger_accounts SET balance = balance + 1 WHERE balance > 0", "minted"),
        ("UPDATE jobs SET status = 'failed', error = 'x' WHERE payment_ref IS NOT NULL", None),
        ("UPDATE payments SET state = 'captured', text = NULL", None),
    ],
)
def test_what_does_not_fit_together_is_found(
    file: Path, url: str, damage: str, words: str | None
) -> None:
    assert move(file, url).returncode == 0

    async def harm() -> None:
        connection = await asyncpg.connect(url, server_settings={"dispatchd.coordinator": OWNER})
        await connection.execute(damage)
        await connection.close()

    asyncio.run(harm())
    found = run(file.parent, "check", "--store", url, "--json")
    assert found.returncode == (words is not None)
    faults = json.loads(found.stdout)["faults"]
    assert len(faults) == (words is not None)
    assert words is None or words in faults[0]
