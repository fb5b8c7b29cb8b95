"""Idempotency keys in SQLite: which job a client's name for a commit stands for."""

import sqlite3

from dispatchd.core.errors import Conflict
from dispatchd.core.job import IdempotencyKey, Job, Millis

_FIND = (
    "SELECT job_id, fingerprint FROM idempotency_keys"
    " WHERE user_id = ? AND key = ? AND created_at > ?"
)
_KEEP = "INSERT OR REPLACE INTO idempotency_keys VALUES (?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM idempotency_keys WHERE created_at <= ?"


def find(db: sqlite3.Connection, key: IdempotencyKey) -> str | None:
    """The id of the job that a key stands for; raises `Conflict` where the body is another."""
    found = db.execute(_FIND, (key.user_id, key.key, key.since)).fetchone()
    if found is None:
        return None
    job_id, fingerprint = found
    if fingerprint != key.fingerprint:
        raise Conflict("Idempotency-Key was used with another body")
    return str(job_id)


def keep(db: sqlite3.Connection, key: IdempotencyKey, job: Job) -> None:
    """From now on a key stands for this job."""
    db.execute(_KEEP, (key.user_id, key.key, key.fingerprint, job.id, job.created_at))


def forget(db: sqlite3.Connection, before: Millis) -> int:
    """Drops the keys from before a moment."""
    return db.execute(_FORGET, (before,)).rowcount
