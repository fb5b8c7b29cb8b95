"""The chain of receipts in the store: every statement that touches its tables."""

from collections.abc import Sequence
from typing import Any

from dispatchd.core.chain import (
    BEFORE_FIRST,
    Entry,
    Link,
    Place,
    Root,
    receipt_hash,
    request_hash,
)
from dispatchd.core.clock import iso
from dispatchd.core.job import Privacy
from dispatchd.core.merkle import HASH_BYTES, Node, grow, path_nodes, peak_nodes, root_of
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads

_HEAD = "SELECT size, last, peaks FROM chain_head"
_MOVE_HEAD = "UPDATE chain_head SET size = ?, last = ?, peaks = ?"
_ENTRY_TYPES = ("bigint", "text", "bytea", "bytea", "bigint", "bytea")
_ADD_ENTRIES = (
    "INSERT INTO chain_entries (sequence, job_seq, receipt_hash, request_hash, completed_at, leaf)"
    " SELECT column1, (SELECT seq FROM jobs WHERE id = column2), column3, column4, column5, column6"
    " FROM ({rows}) AS given"
)
_NODE_TYPES = ("bigint", "bigint", "bytea")
_ADD_NODES = "INSERT INTO chain_nodes (level, place, hash) {rows}"
_COMPLETED = (
    "SELECT id, tier, job_type, privacy, user_id, payload, receipt, signature, completed_at"
    " FROM jobs WHERE status = 'completed' AND id = ?"
)
_ENTRIES = """
    SELECT entry.sequence, before.leaf, entry.receipt_hash,
        entry.request_hash, entry.completed_at, jobs.id, jobs.privacy
    FROM chain_entries AS entry
    JOIN jobs ON jobs.seq = entry.job_seq
    LEFT JOIN chain_entries AS before ON before.sequence = entry.sequence - 1
"""
_PAGE = f"{_ENTRIES} WHERE entry.sequence > ? ORDER BY entry.sequence LIMIT ?"
_OF_JOB = f"{_ENTRIES} WHERE jobs.id = ?"
_LEAF = "SELECT leaf FROM chain_entries WHERE sequence = ?"
_NODE = "SELECT hash FROM chain_nodes WHERE level = ? AND place = ?"
_OWNER = "SELECT coordinator_key FROM chain_head"
_BEGIN = "UPDATE chain_head SET coordinator_key = ? WHERE coordinator_key IS NULL"


class SqlChain:
    """`ChainStore` over a writing and a reading connection."""

    def __init__(self, writer: Grouped, reader: Reads) -> None:
        self._write = writer.do
        self._read = reader.do

    async def owner(self) -> str | None:
        """The coordinator key that the chain belongs to."""
        (key,) = await self._read(lambda db: db.execute(_OWNER).fetchone())
        return None if key is None else str(key)

    async def begin(self, coordinator_key: str) -> None:
        """From now on the chain belongs to that key, unless it belongs to one already."""
        await self._write(lambda db: db.execute(_BEGIN, (coordinator_key,)).rowcount)

    async def root(self) -> Root:
        """The root over all entries."""
        return await self._read(_root)

    async def page(self, after: int, limit: int) -> list[tuple[Entry, str | None]]:
        """The entries behind one, each with the job's id unless it is PRIVATE."""
        rows = await self._read(lambda db: db.execute(_PAGE, (after, limit)).fetchall())
        return [(_entry(row), row[5] if row[6] == Privacy.PUBLIC else None) for row in rows]

    async def place_of(self, job_id: str) -> Place | None:
        """Where a job's entry stands."""
        return await self._read(lambda db: place_under(db, job_id))


def entries_behind(db: Database, after: int, limit: int) -> list[Entry]:
    """The entries behind a sequence number, so many at the most."""
    return [_entry(row) for row in db.execute(_PAGE, (after, limit))]


def root_over(db: Database, size: int) -> Root:
    """The root over the first entries, which are there."""
    return Root(size, _over(db, peak_nodes(size)).hex())


def place_under(db: Database, job_id: str, root: Root | None = None) -> Place | None:
    """Where a job's entry stands under a root of this chain; under that over all unless given.

    None where it is in no such place.
    """
    row = db.execute(_OF_JOB, (job_id,)).fetchone()
    if row is None:
        return None
    entry = _entry(row)
    root = root or _root(db)  # read later than the entry, so that it is over it
    if entry.sequence > root.size:
        return None
    path = path_nodes(entry.sequence - 1, root.size)
    return Place(entry, tuple(_over(db, peaks).hex() for peaks in path), root)


def append(db: Database, links: Sequence[Link]) -> None:
    """Puts jobs that have completed into the chain, within the transaction that completes them."""
    size, previous, peaks = db.execute(_HEAD).fetchone()
    rows = []
    for sequence, link in enumerate(links, size + 1):
        hashes = (link.receipt_hash, link.request_hash)
        named = (previous.hex(), link.receipt_hash.hex(), link.request_hash.hex())
        leaf = Entry(sequence, *named, iso(link.completed_at)).leaf
        rows.append((sequence, link.job_id, *hashes, link.completed_at, leaf))
        previous = leaf
    grown, nodes = grow(size, _split(peaks), [row[-1] for row in rows])
    db.execute_rows(_ADD_ENTRIES, _ENTRY_TYPES, rows)
    added = [(node.level, node.place, hash_) for node, hash_ in nodes]
    db.execute_rows(_ADD_NODES, _NODE_TYPES, added)
    db.execute(_MOVE_HEAD, (size + len(rows), previous, b"".join(grown)))


def append_stored(db: Database, job_id: str) -> None:
    """The same for a job that has run before, if it has completed by now."""
    row = db.execute(_COMPLETED, (job_id,)).fetchone()
    if row is not None:
        _, *request, receipt, signature, at = row
        hashes = (receipt_hash(receipt, signature), request_hash(job_id, *request))
        append(db, [Link(job_id, *hashes, at)])


def _root(db: Database) -> Root:
    size, _, peaks = db.execute(_HEAD).fetchone()
    return Root(size, root_of(_split(peaks)).hex())


def _over(db: Database, peaks: Sequence[Node]) -> bytes:
    return root_of([_node(db, node) for node in peaks])


def _node(db: Database, node: Node) -> bytes:
    if node.level == 0:
        (found,) = db.execute(_LEAF, (node.place + 1,)).fetchone()
    else:
        (found,) = db.execute(_NODE, (node.level, node.place)).fetchone()
    return bytes(found)


def _split(peaks: bytes) -> list[bytes]:
    return [peaks[start : start + HASH_BYTES] for start in range(0, len(peaks), HASH_BYTES)]


def _entry(row: tuple[Any, ...]) -> Entry:
    sequence, previous, of_receipt, of_request, at = row[:5]
    previous = previous or BEFORE_FIRST
    return Entry(sequence, previous.hex(), of_receipt.hex(), of_request.hex(), iso(at))
