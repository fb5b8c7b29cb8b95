"""Idempotency keys in the store: which job a client's name for a commit stands for."""

from dispatchd.core.errors import Conflict
from dispatchd.core.job import IdempotencyKey, Job, Millis
from dispatchd.store.sql.database import Database

_FIND = (
    "SELECT job_id, fingerprint FROM idempotency_keys"
    " WHERE user_id = ? AND key = ? AND created_at > ?"
)
_KEEP = (
    "INSERT INTO idempotency_keys VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id, key) DO UPDATE SET"
    " fingerprint = excluded.fingerprint, job_id = excluded.job_id,"
    " created_at = excluded.created_at"
)
_FORGET = "DELETE FROM idempotency_keys WHERE created_at <= ?"


def find(db: Database, key: IdempotencyKey) -> str | None:
    """The id of the job that a key stands for; raises `Conflict` where the body is another."""
    found = db.execute(_FIND, (key.user_id, key.key, key.since)).fetchone()
    if found is None:
        return None
    job_id, fingerprint = found
    if fingerprint != key.fingerprint:
        raise Conflict("Idempotency-Key was used with another body")
    return str(job_id)


def alone_with(db: Database, key: IdempotencyKey) -> None:
    """Nobody else commits with this key until the transaction ends."""
    db.lock(f"idempotency key {key.user_id}\n{key.key}")


def keep(db: Database, key: IdempotencyKey, job: Job) -> None:
    """From now on a key stands for this job."""
    db.execute(_KEEP, (key.user_id, key.key, key.fingerprint, job.id, job.created_at))


def forget(db: Database, before: Millis) -> int:
    """Drops the keys from before a moment."""
    return db.execute(_FORGET, (before,)).rowcount
