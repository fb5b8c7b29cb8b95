"""The free places of all workers, in the order in which jobs should be offered to them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from dispatchd.coordinator.seats import Offer, Seat, Seats
from dispatchd.core.card import ProviderType
from dispatchd.core.job import Job, JobType, Lane
from dispatchd.core.standing import Grade
from dispatchd.scheduler import preference

_RANKS = {grade: rank for rank, grade in enumerate(Grade)}


class _Kind(NamedTuple):
    """Offers of one kind suit the same public jobs equally, and their workers are as good."""

    job_types: frozenset[JobType]
    provider_type: ProviderType
    ours: bool
    models: tuple[str, ...]
    grade: Grade

    def fits(self, lane: Lane) -> bool:
        able = lane.fits(self.job_types, ours=self.ours, models=self.models)
        return able and self.grade is not Grade.SUSPENDED


class Bench:
    """Offers grouped by kind, in each group the worker last heard from at the end.

    A place that has just become free counts as news from its worker, too. Those of a worker that
    is suspended are kept, and not found.
    There are few kinds, so finding the best offer takes no longer with many idle workers.
    """

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._groups: dict[_Kind, dict[Offer, None]] = {}
        self._group_of: dict[Offer, dict[Offer, None]] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def add(self, offer: Offer) -> None:
        """A place is free."""
        group = self._groups.setdefault(_kind(offer), {})
        group[offer] = None
        self._group_of[offer] = group
        offer.seat.offers[offer] = None

    def remove(self, offer: Offer) -> None:
        """A place is taken or withdrawn; doing so twice does nothing."""
        if (group := self._group_of.pop(offer, None)) is not None:
            del group[offer]
            del offer.seat.offers[offer]

    def heard(self, seat: Seat) -> None:
        """A worker has shown that it is alive, so it goes before those that have not."""
        for offer in seat.offers:
            group = self._group_of[offer]
            group[offer] = group.pop(offer)

    def serves(self, lane: Lane) -> bool:
        """Whether any free place could take a job of a lane."""
        return next(self._fitting(lane), None) is not None

    def best(self, job: Job, accept: Callable[[Seat], bool]) -> Offer | None:
        """The free place that suits a job best among the acceptable ones."""
        if job.lane.user_id is None:
            return self._best_of_all(job, accept)
        offers = [offer for offer in self._fitting(job.lane) if accept(offer.seat)]
        return min(offers, key=lambda offer: _order(job, offer), default=None)

    def _best_of_all(self, job: Job, accept: Callable[[Seat], bool]) -> Offer | None:
        firsts = []
        lane = job.lane
        for kind, group in self._groups.items():
            if kind.fits(lane):
                acceptable = (offer for offer in reversed(group) if accept(offer.seat))
                firsts.append(next(acceptable, None))
        offers = [offer for offer in firsts if offer is not None]
        return min(offers, key=lambda offer: _order(job, offer), default=None)

    def _fitting(self, lane: Lane) -> Iterator[Offer]:
        if lane.user_id is None:
            for kind, group in self._groups.items():
                if kind.fits(lane):
                    yield from group
            return
        for seat in self._seats.trusted_by(lane.user_id):
            yield from (offer for offer in seat.offers if offer.suits(lane))


def _kind(offer: Offer) -> _Kind:
    seat = offer.seat
    ours, models = seat.card.version is not None, seat.card.models
    return _Kind(offer.job_types, seat.card.provider_type, ours, models, seat.grade)


def _order(job: Job, offer: Offer) -> tuple[int, int, int]:
    seat = offer.seat
    return preference(job, seat.card.provider_type), _RANKS[seat.grade], -seat.heard_at
