"""What coordinators tell one another through the database they share."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import msgspec

from dispatchd.core.clock import Clock
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import Job, JobStatus, JobType
from dispatchd.core.neighbour import Bell, JobState, Neighbour, Sitting
from dispatchd.store.postgres.connection import Address, Connection
from dispatchd.store.postgres.errors import our_errors
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads
from dispatchd.store.sql.jobs import OUTLINE, SETTLING, jobs_of

_RETRY_SECONDS = 1.0
_PROBE_SECONDS = 15.0
ALIVE = "seen_at > clock_timestamp() - interval '30 seconds'"
_ME = "current_setting('dispatchd.coordinator')"
SEEN = f"""
    INSERT INTO coordinators (coordinator_key, seen_at) VALUES ({_ME}, clock_timestamp())
    ON CONFLICT (coordinator_key) DO UPDATE SET seen_at = clock_timestamp()
"""
_ANNOUNCE = f"""
    INSERT INTO coordinators (coordinator_key, seen_at, url, sittings)
    VALUES ({_ME}, clock_timestamp(), ?, ?)
    ON CONFLICT (coordinator_key) DO UPDATE SET
        seen_at = clock_timestamp(), url = excluded.url, sittings = excluded.sittings
"""
_WITHDRAW = f"DELETE FROM coordinators WHERE coordinator_key = {_ME}"
_NEIGHBOURS = f"""
    SELECT coordinator_key, url, sittings FROM coordinators
    WHERE coordinator_key <> {_ME}
        AND seen_at > clock_timestamp() - CAST(? AS double precision) * interval '1 second'
"""
_STATES = "SELECT id, status, attempt, worker_key FROM jobs WHERE id IN ({rows})"
_LATEST = f"SELECT {OUTLINE} FROM jobs ORDER BY seq DESC LIMIT ?"
_OUTLINES = f"SELECT {OUTLINE} FROM jobs WHERE id IN ({{rows}})"
_LEASES = """
    SELECT worker_key, job_type, count(*) FROM jobs WHERE status IN ('assigned', 'running')
    GROUP BY worker_key, job_type
"""
_CHAINED_BY = """
    SELECT coordinator_key FROM chains_entries JOIN jobs ON jobs.seq = chains_entries.job_seq
    WHERE jobs.id = ?
"""
_PAIRINGS = "SELECT provider_pubkey, user_id FROM pairings WHERE provider_pubkey IN ({rows})"


class PostgresCluster:
    """`ClusterStore` over a line of writes, a pool of readers, and a connection that listens."""

    def __init__(
        self, address: Address, connection: Connection, writer: Grouped, reader: Reads
    ) -> None:
        self._address = address
        self._connection = connection
        self._write = writer.do
        self._read = reader.do

    async def listen(self, heard: Callable[[Bell], None], clock: Clock) -> None:
        """Calls `heard` for each bell, and for all of them after a time without hearing."""
        while True:
            try:
                await self._listen_once(heard, clock)
            except StoreUnavailable:
                await clock.sleep(_RETRY_SECONDS)

    async def _listen_once(self, heard: Callable[[Bell], None], clock: Clock) -> None:
        """Listens until the connection breaks, which a probe finds out if nothing else does."""
        raw = await self._address.connect()
        broken = asyncio.Event()
        try:
            with our_errors():
                raw.add_termination_listener(lambda _: broken.set())
                for bell in Bell:
                    await raw.add_listener(bell, self._hearing(heard, bell))
                for bell in Bell:
                    heard(bell)
                while not await clock.wait(broken, _PROBE_SECONDS):
                    await raw.execute("SELECT 1")
        finally:
            raw.terminate()

    def _hearing(self, heard: Callable[[Bell], None], bell: Bell) -> Callable[..., None]:
        def listener(_: "asyncpg.Connection[Any]", pid: int, *_rest: object) -> None:
            # What became of jobs by our own writes we know.
            if bell is not Bell.JOBS or pid != self._connection.server_pid:
                heard(bell)

        return listener

    async def announce(self, url: str, sittings: Sequence[Sitting]) -> None:
        """Says where this coordinator is and who sits there, and that it lives."""
        values = (url, msgspec.json.encode(sittings).decode())
        await self._write(lambda db: db.execute(_ANNOUNCE, values).rowcount)

    async def withdraw(self) -> None:
        """Says that it stops: others may take over what this coordinator was doing."""
        await self._write(lambda db: db.execute(_WITHDRAW).rowcount)

    async def neighbours(self, silent_seconds: float) -> list[Neighbour]:
        """The other coordinators that live: not silent for so long."""
        values = (float(silent_seconds),)
        rows = await self._read(lambda db: db.execute(_NEIGHBOURS, values).fetchall())
        sitting = tuple[Sitting, ...]
        return [
            Neighbour(key, url, msgspec.json.decode(text, type=sitting)) for key, url, text in rows
        ]

    async def latest(self, most: int, job_ids: Sequence[str]) -> list[Job]:
        """So many of the latest jobs, and those, without what people wrote, the latest last."""
        rows = [(job_id,) for job_id in job_ids]

        def read(db: Database) -> list[Any]:
            asked = [row for part in db.execute_rows(_OUTLINES, ("text",), rows) for row in part]
            return asked + db.execute(_LATEST, (most,)).fetchall()[::-1]

        return jobs_of(await self._read(read))

    async def leases(self) -> dict[str, dict[JobType, int]]:
        """How many jobs of each type each worker has."""
        found: dict[str, dict[JobType, int]] = {}
        for key, kind, count in await self._read(lambda db: db.execute(_LEASES).fetchall()):
            found.setdefault(key, {})[JobType(kind)] = count
        return found

    async def states(self, job_ids: Sequence[str]) -> list[JobState]:
        """Where these jobs are in their lives; those that are not known are left out."""
        found = await self._find(_STATES, job_ids)
        return [
            JobState(job_id, SETTLING.get(status) or JobStatus(status), attempt, worker_key)
            for job_id, status, attempt, worker_key in found
        ]

    async def chained_by(self, job_id: str) -> str | None:
        """The key of the coordinator in whose chain a job is."""
        row = await self._read(lambda db: db.execute(_CHAINED_BY, (job_id,)).fetchone())
        return None if row is None else str(row[0])

    async def users_of_all(self, worker_keys: Sequence[str]) -> dict[str, set[str]]:
        """The users that trust each of these workers."""
        found: dict[str, set[str]] = {key: set() for key in worker_keys}
        for key, user_id in await self._find(_PAIRINGS, worker_keys):
            found[key].add(user_id)
        return found

    async def _find(self, sql: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        rows = [(name,) for name in names]
        parts = await self._read(lambda db: db.execute_rows(sql, ("text",), rows))
        return [row for part in parts for row in part]
