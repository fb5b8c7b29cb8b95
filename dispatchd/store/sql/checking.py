"""Whether what a store holds fits together: its chain of receipts is made again from the jobs."""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from dispatchd.core.chain import BEFORE_FIRST, Entry, receipt_hash, request_hash
from dispatchd.core.clock import iso
from dispatchd.core.merkle import grow
from dispatchd.store.sql.database import Database

_STATES = "SELECT status, count(*) FROM jobs GROUP BY status ORDER BY status"
_HEAD = "SELECT size, last, peaks FROM chain_head"
_ENTRIES = """
    SELECT entry.sequence, entry.receipt_hash, entry.request_hash, entry.completed_at, entry.leaf,
        jobs.id, jobs.tier, jobs.job_type, jobs.privacy, jobs.user_id, jobs.payload, jobs.receipt,
        jobs.signature, jobs.completed_at, jobs.status
    FROM chain_entries AS entry LEFT JOIN jobs ON jobs.seq = entry.job_seq
    WHERE entry.sequence > ? ORDER BY entry.sequence LIMIT 1000
"""
# What may never be, each with its name; the counts must be 0.
_NEVER = {
    "payments reserved for jobs that have ended": """
        SELECT count(*) FROM payments JOIN jobs ON jobs.id = payments.job_id
        WHERE payments.state = 'authorized' AND jobs.status IN ('completed', 'failed')
    """,
    "jobs that wait for payments which are not being captured": """
        SELECT count(*) FROM jobs LEFT JOIN payments ON jobs.id = payments.job_id
        WHERE jobs.status IN ('unpaid', 'capturing')
            AND coalesce(payments.state, '') <> 'capturing'
    """,
    "idempotency keys of jobs that are not there": """
        SELECT count(*) FROM idempotency_keys LEFT JOIN jobs ON jobs.id = idempotency_keys.job_id
        WHERE jobs.id IS NULL
    """,
    "tokens of which more or less was minted than is held": """
        SELECT count(*) FROM (
            SELECT network, token FROM ledger_accounts
            GROUP BY network, token HAVING sum(balance) <> 0
        ) AS unequal
    """,
}


class Findings(Struct, frozen=True):
    """How many jobs are in each state, how many are chained, and what does not fit together."""

    jobs: dict[str, int]
    chained: int
    faults: tuple[str, ...]


def check(db: Database) -> Findings:
    """Looks through everything, and at the chain of one coordinator."""
    counts = {name: int(db.execute(sql).fetchone()[0]) for name, sql in _NEVER.items()}
    never = [f"{count} {name}" for name, count in counts.items() if count]
    size, faults = _check_chain(db)
    jobs = {str(status): int(count) for status, count in db.execute(_STATES)}
    return Findings(jobs, size, (*never, *faults))


def _check_chain(db: Database) -> tuple[int, list[str]]:
    """The length of the chain, and the first thing that is wrong with it."""
    head = db.execute(_HEAD).fetchone()
    if head is None:
        return 0, []
    size, last, peaks = head
    reached, previous, grown = 0, BEFORE_FIRST, list[bytes]()
    for row in _entries(db):
        if (wrong := _wrong_with(row, reached + 1, previous)) is not None:
            return size, [f"entry {reached + 1} of the chain: {wrong}"]
        reached, previous = reached + 1, bytes(row[4])
        grown, _ = grow(reached - 1, grown, [previous])
    if (reached, previous, b"".join(grown)) != (size, bytes(last), bytes(peaks)):
        return size, [f"the chain's head is not over its {reached} entries"]
    return size, []


def _entries(db: Database) -> Iterator[Any]:
    after = 0
    while rows := db.execute(_ENTRIES, (after,)).fetchall():
        yield from rows
        after = rows[-1][0]


def _wrong_with(row: Any, sequence: int, previous: bytes) -> str | None:
    found, of_receipt, of_request, at, leaf, *job = row
    job_id, tier, job_type, privacy, user_id, payload, receipt, signature, ended, status = job
    if found != sequence:
        return "it is missing"
    if status != "completed" or ended != at:
        return "its job has not completed, or at another time"
    if receipt_hash(receipt, signature) != bytes(of_receipt):
        return "its job has another receipt"
    if request_hash(job_id, tier, job_type, privacy, user_id, payload) != bytes(of_request):
        return "its job is another"
    hashes = (previous.hex(), bytes(of_receipt).hex(), bytes(of_request).hex())
    if Entry(sequence, *hashes, iso(at)).leaf != bytes(leaf):
        return "its hash is another"
    return None
