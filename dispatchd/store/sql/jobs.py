"""The queue of jobs in the store: every statement that touches the table `jobs`."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import msgspec

from dispatchd.core.errors import LeaseLost, TooMany
from dispatchd.core.job import (
    LEASED,
    Completion,
    Grant,
    IdempotencyKey,
    Job,
    JobFilter,
    JobStatus,
    JobType,
    Kind,
    Lane,
    Lease,
    Millis,
    Refusal,
    Tier,
)
from dispatchd.core.payment import AuthorizationKey
from dispatchd.core.standing import Blamed, Standing
from dispatchd.store.sql import keys, payments
from dispatchd.store.sql.completions import Finished, complete_free, complete_paid
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads
from dispatchd.store.sql.records import blame

_PLAIN_COLUMNS = (
    "id",
    "job_type",
    "tier",
    "privacy",
    "user_id",
    "payload",
    "created_at",
    "rank",
    "extended",
    "model",
    "attempt",
    "faults",
    "worker_key",
    "run_until",
    "output",
    "receipt",
    "signature",
    "error",
    "completed_at",
    "payment_ref",
    "end_by",
)
_plain_values = attrgetter(*_PLAIN_COLUMNS)
_COLUMNS = (*_PLAIN_COLUMNS, "avoid", "status")
# Of a job whose payment is being captured nobody gets to see the result.
_WITHHELD = frozenset({"output", "receipt", "signature", "completed_at"})
_SHOWN_COLUMNS = {
    name: f"CASE WHEN status <> 'capturing' THEN {name} END" if name in _WITHHELD else name
    for name in _COLUMNS
}
_SHOWN = ", ".join(_SHOWN_COLUMNS.values())
_WITHOUT_TEXTS = {"payload": "''", "output": "NULL", "receipt": "NULL", "signature": "NULL"}
OUTLINE = ", ".join((_SHOWN_COLUMNS | _WITHOUT_TEXTS).values())
"""The columns of a job without what people and workers wrote, which may be long."""
_SELECT = f"SELECT {_SHOWN} FROM jobs"
SETTLING = MappingProxyType({"unpaid": JobStatus.PENDING, "capturing": JobStatus.RUNNING})
_SHOWN_STATUS = (
    "CASE status WHEN 'unpaid' THEN 'pending' WHEN 'capturing' THEN 'running' ELSE status END"
)
_STORED = MappingProxyType({status: name for name, status in SETTLING.items()})
_STORED_COLUMNS = (*_COLUMNS, "lane", "lease_until")
_NUMBERS = frozenset(
    {
        *("created_at", "rank", "attempt", "faults", "run_until", "completed_at", "end_by"),
        "lease_until",
    }
)
_TYPES = tuple(
    "bigint" if name in _NUMBERS else "boolean" if name == "extended" else "text"
    for name in _STORED_COLUMNS
)
_INSERT = f"INSERT INTO jobs ({', '.join(_STORED_COLUMNS)}) {{rows}}"
_HELD = "status IN ('assigned', 'running') AND id = ? AND attempt = ?"
_WAITING = "status = 'pending' AND id = ? AND attempt = ?"
_UNLEASED = "worker_key = NULL, lease_until = NULL, run_until = NULL"
_ASSIGN = (
    "UPDATE jobs SET status = 'assigned', attempt = attempt + 1, worker_key = ?, lease_until = ?,"
    f" run_until = ? WHERE {_WAITING}"
)
_START = f"UPDATE jobs SET status = 'running' WHERE {_HELD}"
_RENEW = f"UPDATE jobs SET status = 'running', lease_until = ? WHERE {_HELD}"
_TAKE_OVER = (
    "UPDATE jobs SET status = 'running', lease_until = ?"
    " WHERE status IN ('assigned', 'running') AND worker_key = ? AND id = ?"
    " AND lease_until > ? AND run_until > ?"
    f" RETURNING {_SHOWN}"
)
_PUT_BACK = (
    f"UPDATE jobs SET status = 'pending', faults = ?, avoid = ?, lane = ?, {_UNLEASED}"
    f" WHERE {_HELD}"
)
_FAIL = (
    "UPDATE jobs SET status = 'failed', error = ?, faults = ?, lease_until = NULL,"
    " run_until = NULL WHERE "
)
_FAIL_STRANDED = (
    "UPDATE jobs SET status = 'failed', error = ?"
    " WHERE status = 'pending' AND lane = ? AND created_at <= ? RETURNING id, job_type, tier"
)
_COUNT_OPEN = (
    "SELECT count(*) FROM jobs WHERE user_id = ?"
    " AND status IN ('pending', 'assigned', 'running', 'unpaid', 'capturing')"
)
_CHECK = (
    "INSERT INTO write_check VALUES (1, 1) ON CONFLICT (id)"
    " DO UPDATE SET count = (write_check.count + 1) % 1000000"
)
_CHECKED = "SELECT count FROM write_check"
# One index look-up a lane, however long the queues are (a loose index scan).
_LANES = """
    WITH RECURSIVE lanes (lane) AS (
        SELECT min(lane) FROM jobs WHERE status = 'pending'
        UNION ALL
        SELECT (SELECT min(lane) FROM jobs WHERE status = 'pending' AND lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL
    )
    SELECT lane FROM lanes WHERE lane IS NOT NULL
"""


class SqlJobs:
    """`JobStore` over a writing and a reading connection."""

    def __init__(self, writer: Grouped, reader: Reads) -> None:
        self._writer = writer
        self._write = writer.do
        self._read = reader.do

    @property
    def problem(self) -> str | None:
        """Why the last write failed."""
        return self._writer.problem

    async def add(
        self,
        job: Job,
        key: IdempotencyKey | None = None,
        open_max: int = 0,
        grant: Grant | None = None,
        paid_with: AuthorizationKey | None = None,
        open_payments_max: int = 0,
    ) -> str:
        """Stores a new job, unless its key stands for an older one."""
        row = _row(job) if grant is None else _row(grant.leased, grant.lease_until)
        if key is None and not open_max and paid_with is None:
            await self._writer.do_in_bulk(_add_all, row)
            return job.id

        def insert(db: Database) -> str:
            if key is not None:
                keys.alone_with(db, key)
                if (older := keys.find(db, key)) is not None:
                    return older
            if open_max:
                _refuse_too_many(db, job.user_id, open_max)
            if paid_with is not None:
                payments.authorize(db, paid_with, open_payments_max, capture_now=job.settling)
            _add_all(db, [row])
            if key is not None:
                keys.keep(db, key, job)
            return job.id

        return await self._write(insert)

    async def replay(self, key: IdempotencyKey) -> str | None:
        """The job that a key stands for."""
        return await self._write(lambda db: keys.find(db, key))

    async def forget_keys(self, before: Millis) -> None:
        """Drops old keys."""
        await self._write(lambda db: keys.forget(db, before))

    async def check(self) -> None:
        """Writes a row and reads it on the other connection."""
        await self._write(lambda db: db.execute(_CHECK).rowcount)
        await self._read(lambda db: db.execute(_CHECKED).fetchone())

    async def check_version(self) -> None:
        """Looks at what the database says of itself."""
        await self._read(lambda db: db.refuse_other_version())

    async def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        found = await self._select("WHERE id = ?", job_id)
        return found[0] if found else None

    async def list_jobs(self, wanted: JobFilter) -> list[Job]:
        """PUBLIC jobs and those of `private_of`, the newest first."""
        conditions = {
            "user_id = ?": wanted.user_id,
            f"{_SHOWN_STATUS} = ?": wanted.status,
            "seq < (SELECT seq FROM jobs WHERE id = ?)": wanted.after,
        }
        given = {sql: value for sql, value in conditions.items() if value is not None}
        where = " AND ".join(("(privacy = 'PUBLIC' OR user_id = ?)", *given))
        return await self._select(
            f"WHERE {where} ORDER BY seq DESC LIMIT ?",
            *(wanted.private_of, *given.values(), wanted.limit),
        )

    async def count_waiting(self) -> int:
        """How many jobs are pending."""
        sql = "SELECT count(*) FROM jobs WHERE status = 'pending'"
        return int((await self._read(lambda db: db.execute(sql).fetchone()))[0])

    async def waiting_lanes(self) -> list[Lane]:
        """The lanes in which jobs are pending."""
        rows = await self._read(lambda db: db.execute(_LANES).fetchall())
        return [Lane.parse(text) for (text,) in rows]

    async def waiting(self, lanes: Mapping[Lane, int]) -> list[Job]:
        """The first pending jobs of each lane, merged in order of rank."""
        sql = f"{_SELECT} WHERE status = 'pending' AND lane = ? ORDER BY rank, seq LIMIT ?"

        def read(db: Database) -> list[Any]:
            found = (db.execute(sql, (lane.text, limit)) for lane, limit in lanes.items())
            return [row for rows in found for row in rows]

        return sorted(jobs_of(await self._read(read)), key=lambda job: job.rank)

    async def assign(self, grants: Sequence[Grant]) -> list[bool]:
        """Leases pending jobs, all in one transaction."""

        def update(db: Database) -> list[bool]:
            return [_run(db, _ASSIGN, _grant_row(grant)) == 1 for grant in grants]

        return await self._write(update)

    async def start(self, lease: Lease) -> None:
        """Marks a job as running."""
        values = (lease.job_id, lease.attempt)
        await self._write(lambda db: _change(db, lease.job_id, _START, values))

    async def renew(self, leases: Mapping[Lease, Millis]) -> None:
        """Extends leases."""
        rows = [(until, lease.job_id, lease.attempt) for lease, until in leases.items()]
        await self._write(lambda db: db.executemany(_RENEW, rows).rowcount)

    async def finish(self, job: Job, done: Completion, at: Millis) -> None:
        """Completes a job."""
        complete = complete_free if job.payment_ref is None else complete_paid
        await self._writer.do_in_bulk(complete, Finished.of(job, done, at))

    async def put_back(
        self, lease: Lease, job: Job, blamed: Blamed | None = None
    ) -> Standing | None:
        """Makes a job pending again."""
        values = (job.faults, _avoid(job.avoid), job.lane.text, lease.job_id, lease.attempt)

        def release(db: Database) -> Standing | None:
            _change(db, lease.job_id, _PUT_BACK, values)
            return blame(db, job.worker_key, blamed)

        return await self._write(release)

    async def fail(self, job: Job, reason: str, blamed: Blamed | None = None) -> Standing | None:
        """Fails a job."""
        guard = _HELD if job.status in LEASED else _WAITING
        values = (reason, job.faults, job.id, job.attempt)

        def end(db: Database) -> Standing | None:
            _change(db, job.id, _FAIL + guard, values)
            return blame(db, job.worker_key, blamed)

        return await self._write(end)

    async def held_by(self, worker_key: str) -> list[Job]:
        """The jobs leased to a worker."""
        return await self._select(
            "WHERE status IN ('assigned', 'running') AND worker_key = ?", worker_key
        )

    async def take_over(
        self, worker_key: str, job_ids: Sequence[str], now: Millis, until: Millis
    ) -> list[Job]:
        """Extends a worker's leases, in one write."""

        def take(db: Database) -> list[Job]:
            rows = [(until, worker_key, job_id, now, now) for job_id in job_ids]
            found = (db.execute(_TAKE_OVER, row).fetchone() for row in rows)
            return jobs_of(row for row in found if row is not None)

        return await self._write(take)

    async def overdue(self, now: Millis, limit: int) -> list[Job]:
        """Leased jobs whose time is up."""
        condition = "status IN ('assigned', 'running') AND (lease_until <= ?1 OR run_until <= ?1)"
        return await self._select(f"WHERE {condition} LIMIT ?2", now, limit)

    async def expired(self, now: Millis, limit: int) -> list[Job]:
        """Pending jobs that must have ended by now."""
        return await self._select("WHERE status = 'pending' AND end_by <= ? LIMIT ?", now, limit)

    async def fail_stranded(self, lane: Lane, before: Millis, reason: str) -> dict[str, Kind]:
        """Fails the pending jobs of a lane that were committed before a moment."""
        values = (reason, lane.text, before)
        rows = await self._write(lambda db: db.execute(_FAIL_STRANDED, values).fetchall())
        return {job_id: (JobType(job_type), Tier(tier)) for job_id, job_type, tier in rows}

    async def _select(self, condition: str, *values: object) -> list[Job]:
        sql = f"{_SELECT} {condition}"
        return jobs_of(await self._read(lambda db: db.execute(sql, values).fetchall()))


def _add_all(db: Database, rows: list[tuple[object, ...]]) -> bool:
    """Stores new jobs."""
    db.execute_rows(_INSERT, _TYPES, rows)
    return True


def _run(db: Database, sql: str, values: tuple[object, ...]) -> int:
    return db.execute(sql, values).rowcount


def _change(db: Database, job_id: str, sql: str, values: tuple[object, ...]) -> None:
    """A guarded move; that it changed nothing undoes the whole operation."""
    if _run(db, sql, values) == 0:
        raise LeaseLost(f"job {job_id} is no longer in that state")


def _refuse_too_many(db: Database, user_id: str, open_max: int) -> None:
    db.lock(f"open jobs {user_id}")
    (count,) = db.execute(_COUNT_OPEN, (user_id,)).fetchone()
    if count >= open_max:
        raise TooMany(f"user_id has {count} jobs under way, which is the limit", 5)


def _grant_row(grant: Grant) -> tuple[object, ...]:
    return (
        grant.worker_key,
        grant.lease_until,
        grant.run_until,
        grant.job.id,
        grant.job.attempt,
    )


def _row(job: Job, lease_until: Millis | None = None) -> tuple[object, ...]:
    status = _STORED[job.status] if job.settling else job.status
    return (*_plain_values(job), _avoid(job.avoid), status, job.lane.text, lease_until)


def _avoid(refusals: tuple[Refusal, ...]) -> str:
    return msgspec.json.encode(refusals).decode()


def jobs_of(rows: Iterable[tuple[Any, ...]]) -> list[Job]:
    """The jobs in rows of all columns, in the order of the statements here."""
    return [_job(row) for row in rows]


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["avoid"] = msgspec.json.decode(values["avoid"])
    values["extended"] = bool(values["extended"])
    if (shown := SETTLING.get(values["status"])) is not None:
        values |= {"status": shown, "settling": True}
    return msgspec.convert(values, Job)
