"""What coordinators that share a store know of one another."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from msgspec import Struct

from dispatchd.core.card import WorkerCard
from dispatchd.core.job import JobStatus, Lane, Millis


class Bell(StrEnum):
    """What another coordinator has done; a bell says no more, and may ring once for many."""

    JOBS = "dispatchd_jobs"
    """Jobs have come, gone back to the queue, or ended."""
    PEOPLE = "dispatchd_people"
    """Workers or coordinators have come or gone."""
    TRUST = "dispatchd_trust"
    """Users have other keys or pairings."""


class Sitting(Struct, frozen=True):
    """A worker that sits at some coordinator since a moment, and the users who trust it there.

    `proven`, `proving` and `suspended` are what they are for its seat.
    """

    card: WorkerCard
    users: frozenset[str]
    since: Millis
    proven: bool
    proving: bool
    suspended: bool

    @property
    def key(self) -> str:
        """The worker's public key."""
        return self.card.provider_pubkey

    def can_do(self, lane: Lane) -> bool:
        """Whether jobs of a lane may go to this worker, busy or not."""
        if lane.user_id is not None and not self.proven:
            return False
        return self.card.can_do(lane, self.users)


class Changes(Struct, frozen=True):
    """What is new in who sits at a coordinator.

    `came` are those who sit there now, or otherwise than before, and `gone` the keys of those who
    do not any more. Where this is `whole`, nobody else sits there.
    """

    came: tuple[Sitting, ...] = ()
    gone: tuple[str, ...] = ()
    whole: bool = False

    @classmethod
    def between(cls, former: Mapping[str, Sitting] | None, present: Mapping[str, Sitting]) -> Self:
        """From who sat there, by key, to who does now; None where nobody knows who did."""
        if former is None:
            return cls(tuple(present.values()), whole=True)
        came = tuple(each for key, each in present.items() if former.get(key) != each)
        return cls(came, tuple(former.keys() - present.keys()))


class Neighbour(Struct, frozen=True):
    """Another coordinator that lives: its key, where its HTTP API is, and who sits there.

    `changes` lead to `version` from the one that was asked about.
    """

    coordinator_key: str
    url: str
    version: int
    changes: Changes


class JobState(Struct, frozen=True):
    """Where a job is in its life, and who has it."""

    job_id: str
    status: JobStatus
    attempt: int
    worker_key: str | None


NETWORK = "network"
"""What a ticket is for that is for no job."""


def relay_text(coordinator_key: str, subject: str, at: Millis) -> bytes:
    """What a coordinator signs to be shown what another alone has of a job, or has counted."""
    return f"dispatchd relay v1\n{coordinator_key}\n{subject}\n{at}".encode()
