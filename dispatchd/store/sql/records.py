"""The workers' records in the store: every statement that touches `worker_records`.

But for completed jobs, which a trigger on the table `jobs` counts.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from dispatchd.core.job import Millis
from dispatchd.core.record import WorkerRecord
from dispatchd.core.standing import Blamed, Standing, Strikes
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads

_COUNTS = WorkerRecord.__struct_fields__
_STRIKES = Strikes.__struct_fields__
_strikes_values = attrgetter(*_STRIKES)
_COLUMNS = ", ".join((*_COUNTS, *_STRIKES))
_ONE = f"SELECT {_COLUMNS} FROM worker_records WHERE provider_pubkey = ?"
_SOME = (
    f"SELECT provider_pubkey, {_COLUMNS} FROM worker_records WHERE provider_pubkey IN ({{rows}})"
)
_PAGE = (
    f"SELECT provider_pubkey, {_COLUMNS} FROM worker_records WHERE provider_pubkey > ?"
    " ORDER BY provider_pubkey LIMIT ?"
)
_STRUCK = f"SELECT provider_pubkey, {_COLUMNS} FROM worker_records WHERE struck_at >= ?"
_COUNT = (
    "INSERT INTO worker_records (provider_pubkey, {count}) VALUES (?, 1)"
    " ON CONFLICT (provider_pubkey) DO UPDATE SET {count} = worker_records.{count} + 1"
)
_STRIKE = (
    f"UPDATE worker_records SET {', '.join(f'{name} = ?' for name in _STRIKES)}"
    " WHERE provider_pubkey = ?"
)


class SqlRecords:
    """`RecordStore` over a writing and a reading connection."""

    def __init__(self, writer: Grouped, reader: Reads) -> None:
        self._write = writer.do
        self._read = reader.do

    async def standing(self, worker_key: str) -> Standing:
        """A worker's standing."""
        return await self._write(lambda db: _find(db, worker_key))

    async def standings(self, worker_keys: Sequence[str]) -> dict[str, Standing]:
        """The standings of these workers."""
        rows = [(key,) for key in worker_keys]
        parts = await self._read(
            lambda db: [part.fetchall() for part in db.execute_rows(_SOME, ("text",), rows)]
        )
        found = {key: _standing(row) for part in parts for key, *row in part}
        return {key: found.get(key) or Standing() for key in worker_keys}

    async def known(self, after: str, limit: int) -> dict[str, Standing]:
        """The workers with a record, in the order of their keys."""
        rows = await self._read(lambda db: db.execute(_PAGE, (after, limit)).fetchall())
        return {key: _standing(row) for key, *row in rows}

    async def struck_since(self, moment: Millis) -> dict[str, Standing]:
        """The workers against whom something has been held since then."""
        rows = await self._write(lambda db: db.execute(_STRUCK, (moment,)).fetchall())
        return {key: _standing(row) for key, *row in rows}

    async def note_canary(self, worker_key: str, *, passed: bool) -> None:
        """Counts a canary."""
        sql = _COUNT.format(count="canaries_passed" if passed else "canaries_failed")
        await self._write(lambda db: db.execute(sql, (worker_key,)).rowcount)


def blame(db: Database, worker_key: str | None, blamed: Blamed | None) -> Standing | None:
    """Counts a failed attempt; what the worker's standing then is, None where nobody is blamed."""
    if blamed is None or worker_key is None:
        return None
    db.lock(f"record {worker_key}")
    before = _find(db, worker_key)
    after = before.with_blame(blamed.blame, blamed.judge(before))
    db.execute(_COUNT.format(count=blamed.blame), (worker_key,))
    if after.strikes != before.strikes:
        db.execute(_STRIKE, (*_strikes_values(after.strikes), worker_key))
    return after


def _find(db: Database, worker_key: str) -> Standing:
    row = db.execute(_ONE, (worker_key,)).fetchone()
    return Standing() if row is None else _standing(row)


def _standing(row: Sequence[Any]) -> Standing:
    split = len(_COUNTS)
    return Standing(WorkerRecord(*row[:split]), Strikes(*row[split:]))
