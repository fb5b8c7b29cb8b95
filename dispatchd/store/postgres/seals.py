"""What coordinators have signed of their chains, in the store they share."""

from collections.abc import Sequence

from dispatchd.core.chain import Entry, Root, Sealed, SignedRoot
from dispatchd.store.sql.chain import entries_behind, place_under, root_over
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads

_SIZE = """
    SELECT coalesce(max(size), 0) FROM chains_seals
    WHERE coordinator_key = current_setting('dispatchd.coordinator')
"""
_SIGN = "INSERT INTO chains_signatures (sequence, signature) {rows}"
_SIGN_TYPES = ("bigint", "text")
_SEAL = """
    INSERT INTO chains_seals (size, root, signature) VALUES (?, ?, ?)
    ON CONFLICT (coordinator_key) DO UPDATE SET
        size = excluded.size, root = excluded.root, signature = excluded.signature
"""
_OF_JOB = """
    SELECT entry.coordinator_key, seal.size, seal.root, seal.signature, signed.signature
    FROM jobs
    JOIN chains_entries AS entry ON entry.job_seq = jobs.seq
    JOIN chains_signatures AS signed USING (coordinator_key, sequence)
    JOIN chains_seals AS seal USING (coordinator_key)
    WHERE jobs.id = ?
"""
# The views of the chain are that coordinator's until the transaction ends.
_SPEAK_FOR = "SELECT set_config('dispatchd.coordinator', ?, true)"


class PostgresSeals:
    """`SealStore` over a line of writes and a pool of readers."""

    def __init__(self, writer: Grouped, reader: Reads) -> None:
        self._write = writer.do
        self._read = reader.do

    async def unsealed(self, limit: int) -> tuple[list[Entry], Root]:
        """The first entries of this coordinator that are not signed, and the root with them."""

        def read(db: Database) -> tuple[list[Entry], Root]:
            (size,) = db.execute(_SIZE).fetchone()
            entries = entries_behind(db, size, limit)
            return entries, root_over(db, size + len(entries))

        return await self._read(read)

    async def seal(
        self, entries: Sequence[Entry], signatures: Sequence[str], root: SignedRoot
    ) -> None:
        """Stores the signatures of these entries, and of the root over all up to the last."""
        rows = [(each.sequence, text) for each, text in zip(entries, signatures, strict=True)]

        def store(db: Database) -> int:
            db.execute_rows(_SIGN, _SIGN_TYPES, rows)
            return db.execute(_SEAL, (root.size, root.root, root.signature)).rowcount

        await self._write(store)

    async def sealed(self, job_id: str) -> Sealed | None:
        """What a job's coordinator has signed of it."""

        def find(db: Database) -> Sealed | None:
            found = db.execute(_OF_JOB, (job_id,)).fetchone()
            if found is None:
                return None
            key, size, root, root_signature, entry_signature = found
            db.execute("BEGIN")
            db.execute(_SPEAK_FOR, (key,))
            place = place_under(db, job_id, Root(size, root))
            db.execute("ROLLBACK")
            signed = SignedRoot(key, size, root, root_signature)
            return None if place is None else Sealed(place, entry_signature, signed)

        return await self._read(find)
