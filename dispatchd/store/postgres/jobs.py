"""The queue of jobs where PostgreSQL does it in its own way: claims that nobody waits for."""

from collections.abc import Sequence

from dispatchd.core.job import Grant
from dispatchd.store.postgres.cluster import SEEN
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.jobs import SqlJobs

_GRANT_TYPES = ("bigint", "text", "bigint", "text", "bigint", "bigint")
# Jobs that another coordinator is leasing at this moment are passed over, not waited for.
_CLAIM = """
    UPDATE jobs SET status = 'assigned', attempt = jobs.attempt + 1,
        worker_key = claimed.column2, lease_until = claimed.column3, run_until = claimed.column6
    FROM (
        SELECT jobs.seq, given.* FROM ({rows}) AS given
        JOIN jobs ON jobs.id = given.column4 AND jobs.attempt = given.column5
        WHERE jobs.status = 'pending'
        FOR UPDATE OF jobs SKIP LOCKED
    ) AS claimed
    WHERE jobs.seq = claimed.seq
    RETURNING claimed.column1
"""


class PostgresJobs(SqlJobs):
    """`JobStore` over a line of writes and a pool of readers."""

    async def check(self) -> None:
        """Says that this coordinator lives."""
        await self._write(lambda db: db.execute(SEEN).rowcount)

    async def assign(self, grants: Sequence[Grant]) -> list[bool]:
        """Leases pending jobs by one statement."""
        first = {each.job.id: place for place, each in reversed(list(enumerate(grants)))}
        rows = [_row(place, grants[place]) for place in first.values()]

        def claim(db: Database) -> set[int]:
            parts = db.execute_rows(_CLAIM, _GRANT_TYPES, rows)
            return {int(place) for part in parts for (place,) in part}

        claimed = await self._write(claim)
        return [place in claimed for place in range(len(grants))]


def _row(place: int, grant: Grant) -> tuple[object, ...]:
    lease = (grant.worker_key, grant.lease_until, grant.job.id, grant.job.attempt)
    return (place, *lease, grant.run_until)
