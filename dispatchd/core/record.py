"""What a worker has done so far: the counts that its record holds."""

from enum import StrEnum

from msgspec import Struct


class Blame(StrEnum):
    """How an attempt failed; each is a column of the record."""

    FAILED = "failed"
    REJECTED = "rejected"
    BAD_RECEIPTS = "bad_receipts"
    TIMED_OUT = "timed_out"
    LOST = "lost"


class WorkerRecord(Struct, frozen=True):
    """A worker's attempts and canaries, counted by how they ended."""

    completed: int = 0
    failed: int = 0
    """By the worker's own word."""
    rejected: int = 0
    bad_receipts: int = 0
    """With a receipt that does not hold, or none."""
    timed_out: int = 0
    lost: int = 0
    """With the connection."""
    canaries_passed: int = 0
    """Of the jobs that the coordinator gave to see whether the worker holds its key."""
    canaries_failed: int = 0

    @property
    def failures(self) -> int:
        """The attempts that failed, but for jobs that it turned down."""
        return self.failed + self.bad_receipts + self.timed_out + self.lost
