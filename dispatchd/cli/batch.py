"""Many jobs at once: their JSON on stdout, a bar on stderr."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing

import click

from dispatchd.cli.terminal import json_text, say, tell
from dispatchd.core.job import JobStatus
from dispatchd.sdk.batch import in_order
from dispatchd.sdk.coordinator import CoordinatorClient
from dispatchd.sdk.errand import Errand
from dispatchd.sdk.errors import ComputeError, InvalidRequest, JobFailed, JobTimeout
from dispatchd.sdk.order import Order

_FAILED_EXIT = 1


async def run_batch(
    coordinator: CoordinatorClient, orders: Sequence[Order], parallel: int, seconds: float | None
) -> int:
    """Runs them all and returns the exit code.

    A job that fails, is refused or takes too long is a line as well. Where there is no
    coordinator or no payment, none of the others would fare better, so the batch ends there.
    """
    done = failed = 0
    with click.progressbar(
        length=len(orders), label="jobs", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        async def run(order: Order) -> tuple[str, bool]:
            outcome = await _line(coordinator, order, seconds)
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
    tell(f"{done - failed} completed, {failed} failed")
    return _FAILED_EXIT if failed else 0


async def _line(
    coordinator: CoordinatorClient, order: Order, seconds: float | None
) -> tuple[str, bool]:
    """A job's JSON, and whether it completed."""
    errand = Errand(coordinator, order, None)
    try:
        async with asyncio.timeout(seconds):
            job_id = await errand.commit()
            job = await coordinator.wait(job_id)
    except TimeoutError:
        return _problem(JobTimeout(seconds or 0, errand.job_id)), False
    except (InvalidRequest, JobFailed) as error:
        return _problem(error), False
    return job.line, job.status == JobStatus.COMPLETED


def _problem(error: ComputeError) -> str:
    reason = error.reason if isinstance(error, JobFailed) else str(error)
    return json_text({"id": error.job_id, "status": "failed", "result": {"error": reason}})
