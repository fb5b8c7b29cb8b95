"""What a worker's record is worth: what stands against it, and how it is graded."""

from collections.abc import Callable
from enum import StrEnum
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from dispatchd.core.job import Millis
from dispatchd.core.record import Blame, WorkerRecord


class Grade(StrEnum):
    """How good a worker's record is, the best first."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    SUSPENDED = "suspended"


class Strikes(Struct, frozen=True):
    """What stood against a worker when it last failed; what it has done since is seen apart."""

    strikes: int = 0
    struck_at: Millis = 0
    """When it last failed; 0 where it never did."""
    completed_then: int = 0
    """The jobs that it had completed by then."""
    suspensions: int = 0
    """How often it has been suspended of late."""
    suspended_until: Millis = 0


class Standing(Struct, frozen=True):
    """A worker's record, and what stands against it."""

    record: WorkerRecord = WorkerRecord()
    strikes: Strikes = Strikes()

    def with_success(self) -> Self:
        """Once another job is completed."""
        return replace(self, record=replace(self.record, completed=self.record.completed + 1))

    def with_blame(self, blame: Blame, strikes: Strikes) -> Self:
        """Once another attempt has failed."""
        count = getattr(self.record, blame) + 1
        return replace(self, record=replace(self.record, **{blame: count}), strikes=strikes)


class Blamed(Struct, frozen=True):
    """A failed attempt: what it counts as, and what then stands against the worker.

    `judge` is asked with the worker's standing as it is stored, by the write that ends the attempt.
    """

    blame: Blame
    judge: Callable[[Standing], Strikes]
