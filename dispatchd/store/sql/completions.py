"""Completing jobs in the store: output and receipt are stored, and the chain grows, all at once."""

from collections.abc import Sequence
from typing import Self

from msgspec import Struct

from dispatchd.core.chain import Link, receipt_hash, request_hash
from dispatchd.core.job import Completion, Job, Millis
from dispatchd.store.sql import chain
from dispatchd.store.sql.database import Database

_TYPES = ("text", "bigint", "text", "text", "text", "bigint")
_COMPLETE = (
    "UPDATE jobs SET status = CASE WHEN payment_ref IS NOT NULL AND EXISTS"
    " (SELECT 1 FROM payments WHERE job_id = jobs.id AND state = 'authorized')"
    " THEN 'capturing' ELSE 'completed' END, output = column3, receipt = column4,"
    " signature = column5, completed_at = column6, lease_until = NULL, run_until = NULL"
    " FROM ({rows}) AS given WHERE status IN ('assigned', 'running') AND id = column1"
    " AND attempt = column2"
)
_COMPLETED = "SELECT id FROM jobs WHERE status = 'completed' AND id IN ({rows})"


class Finished(Struct, frozen=True):
    """A job that has run: what becomes of its row, and what the chain keeps of it."""

    row: tuple[object, ...]
    link: Link

    @classmethod
    def of(cls, job: Job, done: Completion, at: Millis) -> Self:
        """What a worker has handed in for the attempt of `job`."""
        request = (job.tier, job.job_type, job.privacy, job.user_id, job.payload)
        signed = receipt_hash(done.receipt, done.signature)
        return cls(
            (job.id, job.attempt, done.output, done.receipt, done.signature, at),
            Link(job.id, signed, request_hash(job.id, *request), at),
        )


def complete_free(db: Database, finished: list[Finished]) -> bool:
    """Completes jobs that cost nothing; whether each was still held under its lease."""
    all_held = _complete(db, finished)
    if all_held:
        chain.append(db, [each.link for each in finished])
    return all_held


def complete_paid(db: Database, finished: list[Finished]) -> bool:
    """The same for jobs that are paid for, some of which complete once that has been captured."""
    all_held = _complete(db, finished)
    if all_held:
        completed = _completed(db, [each.link.job_id for each in finished])
        if links := [each.link for each in finished if each.link.job_id in completed]:
            chain.append(db, links)
    return all_held


def _completed(db: Database, job_ids: Sequence[str]) -> set[str]:
    """Those of these jobs that have completed."""
    parts = db.execute_rows(_COMPLETED, ("text",), [(job_id,) for job_id in job_ids])
    return {job_id for part in parts for (job_id,) in part}


def _complete(db: Database, finished: Sequence[Finished]) -> bool:
    parts = db.execute_rows(_COMPLETE, _TYPES, [each.row for each in finished])
    return sum(part.rowcount for part in parts) == len(finished)
