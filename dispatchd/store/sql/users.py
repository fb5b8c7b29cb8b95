"""Users who have an API key, in the store."""

from dispatchd.core.job import Millis
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

    async def put_key(self, user_id: str, digest: bytes, former: bytes | None, at: Millis) -> bool:
        """Stores a first key, or one in the place of `former`; false where it is not so."""
        if former is None:
            sql, values = _FIRST, (user_id, digest, at)
            return await self._write(lambda db: db.execute(sql, values).rowcount == 1)
        changed = (digest, user_id, former)
        return await self._write(lambda db: db.execute(_NEXT, changed).rowcount == 1)
