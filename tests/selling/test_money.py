"""Whatever happens, money is conserved, nobody pays twice, and nobody pays for a failed job."""

import asyncio
import itertools
import sqlite3
import tempfile
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dispatchd.coordination import Coordination
from dispatchd.coordinator.chain import open_chain
from dispatchd.coordinator.intake import Order
from dispatchd.core.card import ProviderType, Slots, WorkerCard
from dispatchd.core.clock import iso
from dispatchd.core.errors import DispatchError, StoreUnavailable
from dispatchd.core.job import Fault, JobType, Privacy, Tier
from dispatchd.core.keys import KeyPair
from dispatchd.core.limits import Limits
from dispatchd.core.payment import Offer, Settlement
from dispatchd.core.prices import price
from dispatchd.core.receipt import complete
from dispatchd.payment.codec import read_payment
from dispatchd.payment.payload import PaymentPayload
from dispatchd.payment.simulated import SimulatedFacilitator
from dispatchd.payment.tokens import find_token
from dispatchd.payment.wallets import FUNDED_ATOMIC, development_wallet
from dispatchd.store import PaymentStore
from dispatchd.store.sqlite.store import open_sqlite
from tests.selling.conftest import MONAD, shop_with
from tests.selling.desk import AWAY, LOST, Desk
from tests.support.clock import FakeClock

LIMITS = Limits(task_run_seconds=20, no_worker_seconds=60)
TYPES = frozenset({JobType.TASK})
BUYERS = [development_wallet(index) for index in range(3)]
POOR = 20_000
"""What a buyer has: enough for a handful of jobs."""

REFUSED = "insufficient_funds"
SCRIPTS = st.sampled_from((AWAY, LOST, REFUSED))
DEEDS = st.one_of(
    st.tuples(st.just("buy"), st.integers(0, 2), st.sampled_from(tuple(Tier))),
    st.tuples(st.just("buy"), st.integers(0, 2), st.sampled_from(tuple(Tier))),
    st.tuples(st.just("again"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("work"), st.booleans(), st.booleans()),
    st.tuples(st.just("work"), st.just(True), st.just(True)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("pass_time"), st.sampled_from((1, 5, 70, 1000))),
    st.tuples(st.just("verify"), st.sampled_from((AWAY, REFUSED))),
    st.tuples(st.just("settle"), SCRIPTS),
    st.tuples(st.just("restart")),
    st.tuples(st.just("crash"), st.integers(0, 2)),
    st.tuples(st.just("distrust"), st.integers(0, 2)),
)
# What a payment's state says of its job, as the database has both.
JOBS: dict[str, set[str | None]] = {
    "verifying": {None},
    "authorized": {"pending", "assigned", "running"},
    "capturing": {"capturing", "unpaid"},
    "captured": {"completed", "pending", "assigned", "running"},
    "released": {"failed"},
    "failed": {"failed"},
    "refund_due": {"failed"},
}


class HonestDesk(Desk):
    """Never refuses what it has settled: no node can know better than a facilitator that lies."""

    async def settle(self, payload: PaymentPayload, offer: Offer) -> Settlement:
        box = self.box
        assert isinstance(box, SimulatedFacilitator)
        while self.settling and self.settling[0] == REFUSED:
            if await box._ledger.transaction_of(payload.key(offer)) is None:
                break
            self.settling.pop(0)
        return await super().settle(payload, offer)


class Dead:
    """The store of a process that is no more."""

    async def drop(self, _: object) -> None:
        raise StoreUnavailable("dead")


class Town:
    """A node that sells, its buyers and its one worker, process after process."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.desk = HonestDesk()
        self.key = KeyPair.generate()
        self.path = folder / "jobs.sqlite3"
        self.numbers = itertools.count(1)
        self.sent: list[tuple[PaymentPayload, Order]] = []
        self.jobs: list[str] = []
        self.bought: dict[str, Order] = {}

    async def start(self) -> None:
        self.process = AsyncExitStack()
        store = await self.process.enter_async_context(open_sqlite(self.path))
        writing = store.jobs._writer._connection
        await writing.call(lambda db: db.execute("PRAGMA synchronous = OFF"))
        shop = await self.process.enter_async_context(
            shop_with(self.desk, MONAD, store, self.clock, LIMITS)
        )
        chain = await open_chain(store.chain, self.path)
        self.parts = Coordination.over(store, chain, self.clock, LIMITS, shop)
        await self.parts.prepare()
        self.running = [
            asyncio.create_task(part())
            for part in self.parts.running
            if part != self.parts.sweep.run
        ]

    async def stop(self) -> None:
        """As killed: nothing is told to anybody, and nothing more is written."""
        assert self.parts.sales
        self.parts.sales.till._payments = cast("PaymentStore", Dead())
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "store" not in task.get_name():
                task.cancel()
        await asyncio.sleep(0)
        await self.process.aclose()

    async def buy(self, buyer: int, tier: Tier) -> None:
        number = next(self.numbers)
        order = Order(JobType.TASK, tier, Privacy.PUBLIC, "user", "{}", fingerprint=str(number))
        sales = self.parts.sales
        assert sales
        offer = await sales.till.offer(price(tier, JobType.TASK))
        signed = BUYERS[buyer].sign(offer, 2, self.clock.now() // 1000, nonce=number.to_bytes(32))
        payment = read_payment({"PAYMENT-SIGNATURE": signed})
        assert payment
        self.sent.append((payment, order))
        await self.submit(payment, order)

    async def again(self, pick: int, same: bool) -> None:
        if self.sent:
            payment, order = self.sent[pick % len(self.sent)]
            other = self.sent[(pick + 1) % len(self.sent)][1]
            await self.submit(payment, order if same else other)

    async def distrust(self, buyer: int) -> None:
        """A capture is refused, so that the buyer must pay first from then on."""
        await self.buy(buyer, Tier.FAST)
        self.desk.settling[:0] = [REFUSED]
        await self.work(well=True, ends=True)

    async def crash(self, buyer: int) -> None:
        """The process ends while the facilitator is thinking."""
        self.desk.open.clear()
        buying = asyncio.create_task(self.buy(buyer, Tier.CHEAP))
        await asyncio.sleep(0.005)
        await self.stop()
        await asyncio.gather(buying, return_exceptions=True)
        self.desk.open.set()
        await self.start()

    async def submit(self, payment: PaymentPayload, order: Order) -> None:
        job_id = str(UUID(int=next(self.numbers)))
        with suppress(DispatchError):
            done = await self.parts.coordinator.submit(order, job_id, None, payment)
            self.jobs.append(done.job_id)
            assert self.bought.setdefault(done.job_id, order) is order

    async def work(self, well: bool, ends: bool) -> None:
        """The worker comes, takes one job if there is one, and leaves."""
        card = WorkerCard(
            provider_pubkey=self.key.public_hex,
            provider_type=ProviderType.DESKTOP,
            slots=(Slots(TYPES, 1),),
        )
        seat = await self.parts.admission.join(card)
        claim = asyncio.create_task(self.parts.work.claim(seat, TYPES))
        done, _ = await asyncio.wait({claim}, timeout=0.02)
        if not done:
            claim.cancel()
        elif ends:
            lease = claim.result().lease
            if well:
                now, reference = iso(self.clock.now()), claim.result().payment_ref
                result = complete(self.key, lease.job_id, '{"a":1}', now, reference)
                await self.parts.work.finish(seat, lease, result)
            else:
                await self.parts.work.fail(seat, lease, Fault("boom", final=True))
        await self.parts.admission.leave(seat)

    async def cancel(self, pick: int) -> None:
        if self.jobs:
            with suppress(DispatchError):
                await self.parts.coordinator.cancel(self.jobs[pick % len(self.jobs)])

    async def pass_time(self, seconds: int) -> None:
        self.clock.advance(seconds)
        await self.parts.sweep.once()

    async def verify(self, script: str) -> None:
        self.desk.verifying.append(script)

    async def settle(self, script: str) -> None:
        self.desk.settling.append(script)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def quiet(self) -> None:
        """Until what was begun has ended."""
        for _ in range(3):
            await asyncio.sleep(0.001)
            sales = self.parts.sales
            assert sales
            await sales.captures.settled()

    def look(self) -> None:
        """What must hold of the disk at every moment."""
        with closing(sqlite3.connect(self.path)) as db:
            db.row_factory = sqlite3.Row
            payments = db.execute(
                "SELECT p.*, j.status FROM payments p LEFT JOIN jobs j ON j.id = p.job_id"
            ).fetchall()
            moved = {
                (row["payer"], row["nonce"]): row["amount"]
                for row in db.execute("SELECT * FROM ledger_transfers")
            }
            balances = dict(db.execute("SELECT address, balance FROM ledger_accounts").fetchall())
            unpaid = db.execute(
                "SELECT count(*) FROM jobs LEFT JOIN payments ON job_id = id WHERE job_id IS NULL"
            ).fetchone()
        assert unpaid[0] == 0
        assert sum(balances.values()) == 0
        for row in payments:
            key = (row["payer"], row["nonce"])
            assert row["status"] in JOBS[row["state"]], dict(row)
            assert row["state"] == "captured" or row["status"] != "completed"
            assert (row["text"] is None) == (row["state"] not in OPEN)
            assert (key in moved) or row["state"] not in {"captured", "refund_due"}
            assert (key not in moved) or row["state"] in {"captured", "refund_due", "capturing"}
        for buyer in BUYERS:
            paid = sum(amount for (payer, _), amount in moved.items() if payer == lower(buyer))
            assert balances[lower(buyer)] == FUNDED_ATOMIC - paid

    def open_payments(self) -> int:
        with closing(sqlite3.connect(self.path)) as db:
            rows = db.execute("SELECT state FROM payments").fetchall()
        return sum(state in OPEN for (state,) in rows)


OPEN = {"verifying", "authorized", "capturing"}


def lower(wallet: Any) -> str:
    return str(wallet.address.lower())


async def live(folder: Path, deeds: list[tuple[Any, ...]]) -> None:
    town = Town(folder)
    await town.start()
    try:
        for deed, *values in deeds:
            await getattr(town, deed)(*values)
            await town.quiet()
            town.look()
        town.desk.settling.clear()
        town.desk.verifying.clear()
        for _ in range(3):
            town.clock.advance(1000)
            await town.parts.sweep.once()
            await town.quiet()
            town.look()
        assert town.open_payments() == 0
    finally:
        await town.stop()


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(deeds=st.lists(DEEDS, min_size=5, max_size=30))
def test_money_is_conserved(deeds: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), deeds))


def test_the_token_is_play_money() -> None:
    assert find_token(MONAD.network).testnet
