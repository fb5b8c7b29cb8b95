"""What a worker says of itself when it joins."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from dispatchd.core.job import JobType, Lane

KeyHex = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}\Z")]
"""An ed25519 public key as the network writes it; kept in lower case."""


class ProviderType(StrEnum):
    """What kind of machine a worker runs on."""

    DESKTOP = "DESKTOP"
    SEEKER = "SEEKER"


class Slots(Struct, frozen=True):
    """A number of jobs that a worker runs at once, each of any of these types."""

    job_types: frozenset[JobType]
    count: int


class WorkerCard(Struct, frozen=True, kw_only=True):
    """A worker's key, kind and free places.

    A worker that says nothing of its concurrency has one place for all that it can do.
    """

    provider_pubkey: str
    provider_type: ProviderType
    slots: tuple[Slots, ...]
    version: str | None = None
    models: tuple[str, ...] = ()
    device: str | None = None
    """What its models run on, such as `cpu` or `cuda`, as far as it knows and says."""

    @property
    def capabilities(self) -> frozenset[JobType]:
        """Every job type that some slot takes."""
        return frozenset(kind for slots in self.slots for kind in slots.job_types)

    @property
    def places(self) -> int:
        """How many jobs it runs at once."""
        return sum(slots.count for slots in self.slots)

    def has_place(self, job_type: JobType, jobs: Mapping[JobType, int]) -> bool:
        """Whether a job of a type fits beside those, of each type so many, that the worker has.

        They may sit in any of the slots that take them. As there are two types, it fits where
        there is a place for those of its own type and for all together (Hall's marriage theorem).
        """
        own = sum(slots.count for slots in self.slots if job_type in slots.job_types)
        return jobs.get(job_type, 0) < own and sum(jobs.values()) < self.places

    def can_do(self, lane: Lane, users: Collection[str]) -> bool:
        """Whether jobs of a lane may go to the worker, whom these users trust."""
        if lane.user_id is not None and lane.user_id not in users:
            return False
        return lane.fits(self.capabilities, ours=self.version is not None, models=self.models)
