"""The free places of all workers, in the order in which jobs should be offered to them."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import NamedTuple

from dispatchd.coordinator.seats import Offer, Seat, Seats
from dispatchd.core.card import ProviderType
from dispatchd.core.job import Job, JobType, Lane, Millis
from dispatchd.core.standing import Grade
from dispatchd.scheduler import preference

_LOOKED_AT_MAX = 64
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
    """Offers grouped by kind, in each group the worker that was given a job longest ago in front.

    So equals take turns, and jobs that come together do not crowd on one machine. A worker of which
    nothing was heard of late may be gone: it comes last. The offers of one that is suspended are
    kept, and not found. There are few kinds, so finding the best offer takes no longer with many
    idle workers.
    """

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._groups: dict[_Kind, dict[Offer, None]] = {}
        self._place_of: dict[Offer, tuple[_Kind, dict[Offer, None]]] = {}
        self._turns = count(1)

    def __len__(self) -> int:
        return len(self._place_of)

    def add(self, offer: Offer) -> None:
        """A place is free."""
        kind = _kind(offer)
        group = self._groups.setdefault(kind, {})
        group[offer] = None
        self._place_of[offer] = kind, group
        offer.seat.offers[offer] = None

    def remove(self, offer: Offer) -> None:
        """A place is withdrawn; doing so twice does nothing."""
        if (place := self._place_of.pop(offer, None)) is not None:
            kind, group = place
            del group[offer]
            del offer.seat.offers[offer]
            if not group:  # workers that come and go may bring kinds without end
                del self._groups[kind]

    def take(self, offer: Offer) -> None:
        """A place is given a job; the next one goes to another worker, if there is an equal."""
        _, group = self._place_of[offer]
        self.remove(offer)
        offer.seat.turn_taken = next(self._turns)
        for other in offer.seat.offers:
            if self._place_of[other][1] is group:
                group[other] = group.pop(other)

    def serves(self, lane: Lane) -> bool:
        """Whether any free place could take a job of a lane."""
        return next(self._fitting(lane), None) is not None

    def best(self, job: Job, accept: Callable[[Seat], bool], heard_after: Millis) -> Offer | None:
        """The free place that suits a job best among the acceptable ones.

        Workers from which nothing was heard since `heard_after` come last.
        """
        lane = job.lane
        if lane.user_id is None:
            groups = (group for kind, group in self._groups.items() if kind.fits(lane))
            firsts = (_first(group, accept, heard_after) for group in groups)
            offers = [offer for offer in firsts if offer is not None]
        else:
            offers = [offer for offer in self._fitting(lane) if accept(offer.seat)]
        return min(offers, key=lambda offer: _order(job, offer, heard_after), default=None)

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


def _first(
    group: Iterable[Offer], accept: Callable[[Seat], bool], heard_after: Millis
) -> Offer | None:
    """Whose turn it is; past a few silent workers, the first of them."""
    silent = None
    acceptable = (offer for offer in group if accept(offer.seat))
    for offer in islice(acceptable, _LOOKED_AT_MAX):
        if offer.seat.heard_at >= heard_after:
            return offer
        silent = silent or offer
    return silent


def _order(job: Job, offer: Offer, heard_after: Millis) -> tuple[int, bool, int, int]:
    seat = offer.seat
    suits = preference(job, seat.card.provider_type)
    return suits, seat.heard_at < heard_after, _RANKS[seat.grade], seat.turn_taken
