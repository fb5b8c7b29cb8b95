"""Users who have an API key, in the store."""

from dispatchd.core.job import Millis
from dispatchd.core.rate import Counted
from dispatchd.store.sql import rates
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads

_ALL = "SELECT user_id, key_hash FROM users"
_FIRST = "INSERT INTO users VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_NEXT = "UPDATE users SET key_hash = ? WHERE user_id = ? AND key_hash = ?"


class SqlUsers:
    """`UserStore` over a writing and a reading connection."""

    def __init__(self, writer: Grouped, reader: Reads) -> None:
        self._write = writer.do
        self._read = reader.do

    async def all(self) -> dict[str, bytes]:
        """The digest of each user's key."""
        return dict(await self._read(lambda db: db.execute(_ALL).fetchall()))

    async def put_key(
        self,
        user_id: str,
        digest: bytes,
        former: bytes | None,
        at: Millis,
        counted: Counted | None = None,
    ) -> bool:
        """Stores a first key, or one in the place of `former`; false where it is not so."""
        if former is not None:
            changed = (digest, user_id, former)
            return await self._write(lambda db: db.execute(_NEXT, changed).rowcount == 1)

        def put_first(db: Database) -> bool:
            if counted is not None:
                rates.alone_with(db, counted)
                rates.refuse_too_many(db, counted, at)
            is_first = db.execute(_FIRST, (user_id, digest, at)).rowcount == 1
            if is_first and counted is not None:
                rates.note(db, counted, at)
            return is_first

        return await self._write(put_first)
