"""What must hold of the stored jobs after every single write, whoever made it."""

import sqlite3
from pathlib import Path
from typing import Any

from dispatchd.core.errors import BadReceipt
from dispatchd.core.job import ENDED, LEASED, MOVES, Completion, JobStatus, Lease
from dispatchd.core.receipt import hash_of, verify

REASONS = frozenset(
    {
        "boom",
        "cancelled",
        "cannot",
        "invalid_receipt",
        "no_eligible_worker",
        "no_trusted_worker",
        "timeout",
        "worker_disconnected",
    }
)
_FIXED = ("id", "seq", "job_type", "tier", "privacy", "user_id", "payload", "created_at", "rank")

Row = dict[str, Any]


class Ledger:
    """Compares what the database file holds with what it held before the last write."""

    def __init__(self, path: Path, faults_max: int) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._faults_max = faults_max
        self.rows: dict[str, Row] = {}

    def close(self) -> None:
        self._db.close()

    def stands(self, lease: Lease, key: str) -> bool:
        """Whether a worker holds a lease."""
        row = self.rows[lease.job_id]
        holder = (row["attempt"], row["worker_key"]) == (lease.attempt, key)
        return holder and row["status"] in LEASED

    def leases(self) -> set[Lease]:
        """The leases that are out."""
        leased = [row for row in self.rows.values() if row["status"] in LEASED]
        return {Lease(row["id"], row["attempt"]) for row in leased}

    def completed_by_record(self) -> int:
        """How many jobs the workers' records say were completed."""
        (count,) = self._db.execute("SELECT sum(completed) FROM worker_records").fetchone()
        return int(count or 0)

    def look(self, verb: str = "") -> None:
        """Reads all rows, and checks what has changed since the last time."""
        rows = {row["id"]: dict(row) for row in self._db.execute("SELECT * FROM jobs")}
        for job_id, before in self.rows.items():
            assert job_id in rows, f"{verb}: job {job_id} is lost"
            if rows[job_id] != before:
                self._check_change(verb, before, rows[job_id])
        for job_id in rows.keys() - self.rows.keys():
            self._check_new(rows[job_id])
        self.rows = rows
        self._check_chain(verb)

    def _check_chain(self, verb: str) -> None:
        """What has completed is in the chain, and nothing else, without a gap."""
        completed = {row["seq"] for row in self.rows.values() if row["status"] == "completed"}
        chained = dict(self._db.execute("SELECT job_seq, sequence FROM chain_entries"))
        assert chained.keys() == completed, verb
        assert sorted(chained.values()) == list(range(1, len(chained) + 1)), verb
        (size,) = self._db.execute("SELECT size FROM chain_head").fetchone()
        assert size == len(chained), verb

    def _check_new(self, row: Row) -> None:
        """A new job waits, has found a free place at once, or has been refused."""
        assigned = row["status"] == JobStatus.ASSIGNED
        assert (row["attempt"], row["faults"]) == (1 if assigned else 0, 0)
        expected = {
            (JobStatus.PENDING, None),
            (JobStatus.ASSIGNED, None),
            (JobStatus.FAILED, "no_trusted_worker"),
        }
        assert (row["status"], row["error"]) in expected
        if assigned:
            self._check_pairing(row, f"new: {row}")

    def _check_change(self, verb: str, before: Row, after: Row) -> None:
        where = f"{verb}: {before} -> {after}"
        old, new = JobStatus(before["status"]), JobStatus(after["status"])
        assert old not in ENDED, where
        assert new is old or new in MOVES[old], where
        assert all(before[name] == after[name] for name in _FIXED), where
        assert after["attempt"] == before["attempt"] + (new is JobStatus.ASSIGNED != old), where
        assert 0 <= after["faults"] - before["faults"] <= (new is not JobStatus.COMPLETED), where
        assert after["faults"] <= self._faults_max, where
        assert after["faults"] < self._faults_max or new is JobStatus.FAILED, where
        if new in LEASED:
            self._check_lease(before, after, where)
        if new is JobStatus.COMPLETED:
            _check_receipt(after, where)
        if new is JobStatus.FAILED:
            assert after["error"] in REASONS, where

    def _check_lease(self, before: Row, after: Row, where: str) -> None:
        if before["status"] in LEASED:
            assert before["worker_key"] == after["worker_key"], where
            assert before["run_until"] == after["run_until"], where
        self._check_pairing(after, where)

    def _check_pairing(self, row: Row, where: str) -> None:
        if row["privacy"] == "PRIVATE":
            pair = (row["user_id"], row["worker_key"])
            sql = "SELECT 1 FROM pairings WHERE user_id = ? AND provider_pubkey = ?"
            assert self._db.execute(sql, pair).fetchone() is not None, where


def _check_receipt(row: Row, where: str) -> None:
    output_hash = hash_of(row["output"])
    done = Completion(row["output"], output_hash, row["receipt"], row["signature"])
    try:
        verify(done, job_id=row["id"], provider_pubkey=row["worker_key"])
    except BadReceipt as error:
        raise AssertionError(where) from error
