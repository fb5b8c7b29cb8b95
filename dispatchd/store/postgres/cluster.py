"""What coordinators tell one another through the database they share."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from dispatchd.core.clock import Clock
from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.job import Job, JobStatus, JobType
from dispatchd.core.neighbour import Bell, Changes, JobState, Neighbour, Sitting
from dispatchd.store.postgres.connection import Address
from dispatchd.store.postgres.errors import our_errors
from dispatchd.store.postgres.ringing import Ringer
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads
from dispatchd.store.sql.jobs import OUTLINE, SETTLING, jobs_of

_RETRY_SECONDS = 1.0
_PROBE_SECONDS = 15.0
_VERSIONS_KEPT = 10_000
"""Whoever knows an older version of a coordinator's workers than this reads all of them again."""
ALIVE = "seen_at > clock_timestamp() - interval '30 seconds'"
_ME = "current_setting('dispatchd.coordinator')"
SEEN = f"""
    INSERT INTO coordinators (coordinator_key, seen_at) VALUES ({_ME}, clock_timestamp())
    ON CONFLICT (coordinator_key) DO UPDATE SET seen_at = clock_timestamp()
"""
_ANNOUNCE = f"""
    INSERT INTO coordinators (coordinator_key, seen_at, url) VALUES ({_ME}, clock_timestamp(), ?)
    ON CONFLICT (coordinator_key) DO UPDATE SET seen_at = clock_timestamp(), url = excluded.url
    RETURNING version
"""
_FORGET_DEAD = """
    DELETE FROM coordinators WHERE seen_at < clock_timestamp() - interval '1 day'
"""
_NEXT_VERSION = f"""
    UPDATE coordinators
    SET version = next.version, whole_since = greatest(whole_since, next.version - {_VERSIONS_KEPT})
    FROM (SELECT nextval('sitting_versions') AS version) AS next
    WHERE coordinator_key = {_ME} RETURNING coordinators.version, whole_since
"""
_BEGIN_WHOLE = f"""
    UPDATE coordinators SET version = next.version, whole_since = next.version
    FROM (SELECT nextval('sitting_versions') AS version) AS next
    WHERE coordinator_key = {_ME} RETURNING coordinators.version, whole_since
"""
_LEAVE_ALL = f"DELETE FROM sittings WHERE coordinator_key = {_ME}"
_SIT = f"""
    INSERT INTO sittings (coordinator_key, provider_pubkey, version, sitting)
    SELECT {_ME}, given.* FROM ({{rows}}) AS given
    ON CONFLICT (coordinator_key, provider_pubkey)
    DO UPDATE SET version = excluded.version, sitting = excluded.sitting
"""
_SITTING_TYPES = ("text", "bigint", "text")
_FORGET_GONE = f"""
    DELETE FROM sittings WHERE coordinator_key = {_ME} AND sitting IS NULL AND version <= ?
"""
_WITHDRAW = f"DELETE FROM coordinators WHERE coordinator_key = {_ME}"
_NEIGHBOURS = f"""
    SELECT coordinator_key, url, version, whole_since FROM coordinators
    WHERE coordinator_key <> {_ME}
        AND seen_at > clock_timestamp() - CAST(? AS double precision) * interval '1 second'
"""
_SITTINGS = """
    SELECT coordinator_key, provider_pubkey, sitting FROM ({rows}) AS asked
    JOIN sittings ON coordinator_key = asked.column1 AND version > asked.column2
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

    def __init__(self, address: Address, ringer: Ringer, writer: Grouped, reader: Reads) -> None:
        self._address = address
        self._ringer = ringer
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
            if bell is not Bell.JOBS or pid != self._ringer.server_pid:
                heard(bell)

        return listener

    async def announce(self, url: str, changes: Changes) -> None:
        """Says where this coordinator is, what is new in who sits there, and that it lives.

        Those that have been dead for a day are forgotten. Where that has become of this one, it
        must say again who sits there; raises `StoreUnavailable` until then.
        """
        sittings = {each.key: _text(each) for each in changes.came}
        rows = [*sittings.items(), *((key, None) for key in changes.gone)]

        def write(db: Database) -> bool:
            (former,) = db.execute(_ANNOUNCE, (url,)).fetchone()
            if not former and not changes.whole:
                return False
            if not rows and not changes.whole:
                return True
            next_version = _BEGIN_WHOLE if changes.whole else _NEXT_VERSION
            version, whole_since = db.execute(next_version).fetchone()
            if changes.whole:
                db.execute(_LEAVE_ALL)
                db.execute(_FORGET_DEAD)
            db.execute_rows(_SIT, _SITTING_TYPES, [(key, version, text) for key, text in rows])
            db.execute(_FORGET_GONE, (whole_since,))
            return True

        if not await self._write(write):
            raise StoreUnavailable("Who sits at this coordinator is not known there any more.")

    async def withdraw(self) -> None:
        """Says that it stops: others may take over what this coordinator was doing."""
        await self._write(lambda db: db.execute(_WITHDRAW).rowcount)

    async def neighbours(self, known: Mapping[str, int], silent_seconds: float) -> list[Neighbour]:
        """The other coordinators that live: not silent for so long, and what has changed there.

        What is written between the two statements may be among the changes already; it is news
        again the next time, and the bell for it has yet to be heard.
        """

        def read(db: Database) -> list[Neighbour]:
            found = db.execute(_NEIGHBOURS, (float(silent_seconds),)).fetchall()
            whole = {key for key, _, _, since in found if known.get(key, -1) < since}
            asked = [
                (key, -1 if key in whole else known[key])
                for key, _, version, _ in found
                if key in whole or known[key] != version
            ]
            parts = db.execute_rows(_SITTINGS, ("text", "bigint"), asked)
            rows: dict[str, list[tuple[str, str | None]]] = {key: [] for key, _ in asked}
            for key, worker, text in (row for part in parts for row in part):
                rows[key].append((worker, text))
            return [
                Neighbour(key, url, version, _changes(rows.get(key, []), whole=key in whole))
                for key, url, version, _ in found
            ]

        return await self._read(read)

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


def _changes(rows: Sequence[tuple[str, str | None]], *, whole: bool) -> Changes:
    came = tuple(msgspec.json.decode(text, type=Sitting) for _, text in rows if text is not None)
    gone = () if whole else tuple(worker for worker, text in rows if text is None)
    return Changes(came, gone, whole)


def _text(sitting: Sitting) -> str:
    return msgspec.json.encode(sitting).decode()
