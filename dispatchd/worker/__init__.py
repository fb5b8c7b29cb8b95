"""The worker's side: where its work comes from, and what carries a job out."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from msgspec import Struct

from dispatchd.core.job import Assignment, Completion, Fault, JobType, Lease


class WorkSource(Protocol):
    """A coordinator, in this process or far away; a worker cannot tell and must not ask.

    Every verb for a lease that is no longer held raises `LeaseLost`.
    """

    async def claim(self, job_types: frozenset[JobType]) -> Assignment:
        """Waits for a job of one of these types."""
        ...

    async def progress(self, lease: Lease, text: str) -> None:
        """Passes on the text generated since the last time."""
        ...

    async def lost(self, lease: Lease) -> None:
        """Returns once the lease is no longer held: cancelled, timed out, or taken away."""
        ...

    async def finish(self, lease: Lease, done: Completion) -> None:
        """Hands in a signed result."""
        ...

    async def fail(self, lease: Lease, fault: Fault) -> None:
        """Reports that the attempt failed."""
        ...


class Output(Struct, frozen=True):
    """The end of a job: a JSON object."""

    value: dict[str, Any]


class Executor(Protocol):
    """Carries out the jobs of one type."""

    def run(self, payload: str) -> AsyncGenerator[str | Output]:
        """Yields text as it comes, if any, and at the end one `Output`.

        Raises `ExecutionFailed`. Closing the iterator stops the work.
        """
        ...
