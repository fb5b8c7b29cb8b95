"""Many jobs at once: their JSON on stdout, a bar on stderr."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing

import click

from dispatchd.cli.terminal import json_text, say, tell
from dispatchd.core.job import JobStatus
from dispatchd.sdk import Payer
from dispatchd.sdk.batch import in_order
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.dollars import dollars
from dispatchd.sdk.errand import Errand
from dispatchd.sdk.errors import (
    ComputeError,
    InvalidRequest,
    JobFailed,
    JobTimeout,
    SpendingCapReached,
)
from dispatchd.sdk.order import Order

_FAILED_EXIT = 1
_PATIENCE_SECONDS = 240.0
"""Coordinators bound how many payments of one payer are open; those signed now are good longer."""


async def run_batch(
    coordinator: CoordinatorClient,
    orders: Sequence[Order],
    payer: Payer | None,
    parallel: int,
    seconds: float | None,
) -> int:
    """Runs them all and returns the exit code; see `Batch.line` for what ends a batch."""
    batch = Batch(coordinator, payer, seconds)
    done = failed = 0
    with click.progressbar(
        length=len(orders), label="jobs", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        async def run(order: Order) -> tuple[str, bool]:
            outcome = await batch.line(order)
            bar.update(1)
            return outcome

        try:
            async with aclosing(in_order(orders, run, parallel)) as outcomes:
                async for line, well in outcomes:
                    say(line)
                    done, failed = done + 1, failed + (not well)
        except (ComputeError, asyncio.CancelledError):
            tell(f"{done} of {len(orders)} jobs are done; the first {done} lines need no repeating")
            raise
    tell(f"{done - failed} completed, {failed} failed{batch.spent_note}")
    if batch.trouble is not None:
        raise batch.trouble
    return _FAILED_EXIT if failed else 0


class Batch:
    """What the jobs of one batch share: who does them, who pays, and what has gone wrong."""

    def __init__(
        self, coordinator: CoordinatorClient, payer: Payer | None, seconds: float | None
    ) -> None:
        self._coordinator = coordinator
        self._payer = payer
        self._seconds = seconds
        self._spent = 0
        self.trouble: ComputeError | None = None

    @property
    def spent_note(self) -> str:
        """What was spent, where there is a payer."""
        return f", {dollars(self._spent)} spent" if self._payer else ""

    async def line(self, order: Order) -> tuple[str, bool]:
        """A job's JSON, and whether it completed.

        A job that fails, is refused, too dear or too slow is a line as well. Where there is no
        coordinator or no payment, none of the others would fare better: that is raised. But jobs
        that are paid for are waited for, so with a payer it becomes `trouble`, for which no other
        job is begun.
        """
        if self.trouble is not None:
            return _problem(self.trouble), False
        try:
            return await self._line(order)
        except ComputeError as error:
            if self._payer is None:
                raise
            self.trouble = self.trouble or error
            return _problem(error), False

    async def _line(self, order: Order) -> tuple[str, bool]:
        errand = Errand(self._coordinator, order, self._payer)
        try:
            async with asyncio.timeout(self._seconds):
                await errand.commit(_PATIENCE_SECONDS if self._payer else 0)
                job = await errand.wait()
        except TimeoutError:
            paid = errand.money_is_out
            return _problem(JobTimeout(self._seconds or 0, errand.job_id, paid=paid)), False
        except (InvalidRequest, JobFailed) as error:
            return _problem(error), False
        except SpendingCapReached as error:
            if error.cap != "job":
                raise
            return _problem(error), False
        finally:
            self._spent += errand.payment.amount if errand.payment else 0
        return job.line, job.status == JobStatus.COMPLETED


def _problem(error: ComputeError) -> str:
    reason = error.reason if isinstance(error, JobFailed) else str(error)
    return json_text({"id": error.job_id, "status": "failed", "result": {"error": reason}})
