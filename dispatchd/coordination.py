"""A coordinator's parts over one store: how they are put together, begun and ended."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from dispatchd.api.app import Edge
from dispatchd.coordinator.admission import Admission
from dispatchd.coordinator.chain import Chain
from dispatchd.coordinator.contact import Contact
from dispatchd.coordinator.coordinator import Coordinator
from dispatchd.coordinator.elsewhere import Elsewhere
from dispatchd.coordinator.intake import Intake, Sales
from dispatchd.coordinator.matching import Matching
from dispatchd.coordinator.neighbours import Neighbours, Relay
from dispatchd.coordinator.overview import Overview
from dispatchd.coordinator.proofs import Proofs
from dispatchd.coordinator.recent import Recent
from dispatchd.coordinator.sealing import Sealing
from dispatchd.coordinator.seats import Seats
from dispatchd.coordinator.sweep import Sweep
from dispatchd.coordinator.users import Users
from dispatchd.coordinator.work import Work
from dispatchd.core.clock import Clock
from dispatchd.core.limits import Limits
from dispatchd.feed import Feed, Journal, Journals
from dispatchd.loop import Part
from dispatchd.store import PaymentStore
from dispatchd.store.sql.store import SqlStore

if TYPE_CHECKING:  # a node without payments loads nothing of them
    from dispatchd.selling import Shop

log = logging.getLogger(__name__)


class Coordination(Struct, frozen=True):
    """A coordinator's parts over one store."""

    seats: Seats
    coordinator: Coordinator
    admission: Admission
    work: Work
    matching: Matching
    sweep: Sweep
    feed: Feed
    sales: Sales | None
    payments: PaymentStore
    chain: Chain
    neighbours: Neighbours | None
    clock: Clock

    @classmethod
    def over(
        cls,
        store: SqlStore,
        chain: Chain,
        clock: Clock,
        limits: Limits,
        shop: "Shop | None" = None,
        journals: Sequence[Journal] = (),
        relay: Relay | None = None,
    ) -> Self:
        """Builds the parts; with a shop, jobs are sold. The journals hear of all that happens.

        A store that others share takes a `relay`, which brings their workers' live text.
        """
        stirred = asyncio.Event()
        seats = Seats(stirred)
        recent = Recent(clock)
        feed = Feed(limits.watchers_max, Journals([recent, *journals]), stirred)
        owed = asyncio.Event()
        matching = Matching(store.jobs, seats, feed, clock, limits)
        proofs = Proofs(seats, matching, clock, limits)
        work = Work(store.jobs, store.records, seats, matching, proofs, feed, clock, limits, owed)
        admission = Admission(
            *(store.jobs, store.trust, seats, matching, proofs, work, feed, clock, limits)
        )
        contact = Contact(clock, limits.renew_seconds)
        sweep = Sweep(
            *(store.jobs, seats, matching, admission, work, feed, clock, limits),
            None if relay is None else contact,
        )
        sales = None if shop is None else shop.sales(matching, feed, owed)
        intake = Intake(store.jobs, seats, proofs, matching, feed, clock, limits, sales)
        users = Users(store.users, clock, limits)
        neighbours = elsewhere = None
        if relay is not None and store.cluster is not None and store.seals is not None:
            sealing = Sealing(store.seals, chain.key, clock)
            neighbours = Neighbours(
                *(store.cluster, store.jobs, store.records, seats, matching, admission, proofs),
                *(feed, users, sealing, contact, chain.key, relay, clock),
            )
            elsewhere = Elsewhere(neighbours, seats, matching, recent, clock)
        overview = Overview(
            *(seats, matching, store.records, feed, recent, clock, limits, elsewhere)
        )
        coordinator = Coordinator(
            intake,
            store.jobs,
            store.payments,
            store.trust,
            seats,
            matching,
            work,
            proofs,
            feed,
            users,
            overview,
            clock,
            limits,
            neighbours,
        )
        return cls(
            seats=seats,
            coordinator=coordinator,
            admission=admission,
            work=work,
            matching=matching,
            sweep=sweep,
            feed=feed,
            sales=sales,
            payments=store.payments,
            chain=chain,
            neighbours=neighbours,
            clock=clock,
        )

    @property
    def running(self) -> "list[Part]":
        """What must run for as long as the coordinator does."""
        parts: list[Part] = [self.matching.run, self.sweep.run]
        if self.sales is not None:
            parts += [self.sales.till.run, self.sales.captures.run]
        if self.neighbours is not None:
            parts += [self.neighbours.listen, self.neighbours.sealing.run]
            parts.append(self.coordinator.overview.run)
        return parts

    async def prepare(self) -> None:
        """Before anything can be committed: looks at what a former process left."""
        await self.coordinator.users.prepare()
        await self.matching.prepare()
        if self.neighbours is not None:
            await self.neighbours.prepare()
        left = await self.payments.recover(self.clock.now())
        if left and self.sales is None:
            log.warning(
                "%d %s of a former run cannot be settled: start once with its payment options",
                left,
                "payment" if left == 1 else "payments",
            )

    async def drain(self, edge: Edge, grace_seconds: float) -> None:
        """Takes no more jobs, lets running ones finish in time and puts the others back."""
        self.coordinator.stop()
        await edge.tell_stopping()
        await self.work.let_finish(grace_seconds)
        if self.sales is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.sales.captures.settled(), grace_seconds)
        self.feed.close()
        if self.neighbours is not None:
            await self.neighbours.sealing.catch_up()
            await self.neighbours.withdraw()
