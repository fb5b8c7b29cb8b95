"""A worker as the network knows it: here, at another coordinator, or not connected."""

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from dispatchd.coordinator.seats import Seat
from dispatchd.core.job import JobType
from dispatchd.core.neighbour import Sitting
from dispatchd.core.standing import Grade, Standing

Leases = Mapping[str, Mapping[JobType, int]]
"""How many jobs of each type workers have that sit elsewhere, by their keys."""


class KnownWorker(Struct, frozen=True):
    """A worker, how it stands, where it sits if it is connected, and how many jobs it has."""

    key: str
    standing: Standing
    grade: Grade
    place: Seat | Sitting | None
    jobs: Mapping[JobType, int]


def jobs_of(place: Seat | Sitting | None, leases: Leases) -> Mapping[JobType, int]:
    """The jobs of a worker by type: of one that sits here as they are, of others as stored."""
    if isinstance(place, Seat):
        return Counter(held.job.job_type for held in place.jobs)
    return {} if place is None else leases.get(place.key, {})


def grade_of(place: Seat | Sitting | None, graded: Grade) -> Grade:
    """What a worker's record is worth where it sits.

    A coordinator does not suspend its own worker, and says whom it does.
    """
    if isinstance(place, Seat):
        return place.grade
    spared = place is not None and not place.suspended and graded is Grade.SUSPENDED
    return Grade.POOR if spared else graded
