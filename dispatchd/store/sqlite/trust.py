"""Pairing codes and pairings in SQLite."""

import sqlite3

from dispatchd.core.errors import PairingRefused
from dispatchd.core.job import Millis
from dispatchd.core.trust import Pairing, PairingCode
from dispatchd.store.sqlite.groups import Grouped

_FIND_CODE = "SELECT user_id, expires_at, claimed_at FROM pairing_codes WHERE code = ?"
_ADD_CODE = (
    "INSERT INTO pairing_codes VALUES (?, ?, ?, NULL) ON CONFLICT (code) DO UPDATE SET"
    " user_id = excluded.user_id, expires_at = excluded.expires_at, claimed_at = NULL"
    " WHERE expires_at <= ?"
)
_CLAIM = "UPDATE pairing_codes SET claimed_at = ? WHERE code = ?"
_PAIR = (
    "INSERT INTO pairings VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET paired_at = excluded.paired_at"
)


class SqliteTrust:
    """`TrustStore` over a writing and a reading connection."""

    def __init__(self, writer: Grouped, reader: Grouped) -> None:
        self._write = writer.do
        self._read = reader.do

    async def add_code(self, code: PairingCode, now: Millis) -> bool:
        """Stores a code; one of the same letters that has expired is forgotten."""
        values = (code.code, code.user_id, code.expires_at, now)
        return await self._write(lambda db: db.execute(_ADD_CODE, values).rowcount == 1)

    async def claim_code(self, code: str, provider_pubkey: str, now: Millis) -> Pairing:
        """Uses a code up and pairs its user with the worker, in one transaction."""

        def claim(db: sqlite3.Connection) -> Pairing:
            user_id = _open_code(db, code, now)
            db.execute(_CLAIM, (now, code))
            db.execute(_PAIR, (user_id, provider_pubkey, now))
            return Pairing(user_id, provider_pubkey, now)

        return await self._write(claim)

    async def pairings_of(self, user_id: str) -> list[Pairing]:
        """The workers that a user trusts."""
        sql = (
            "SELECT user_id, provider_pubkey, paired_at FROM pairings"
            " WHERE user_id = ? ORDER BY paired_at, provider_pubkey"
        )
        rows = await self._read(lambda db: db.execute(sql, (user_id,)).fetchall())
        return [Pairing(*row) for row in rows]

    async def users_of(self, provider_pubkey: str) -> list[str]:
        """The users that trust a worker."""
        sql = "SELECT user_id FROM pairings WHERE provider_pubkey = ?"
        rows = await self._read(lambda db: db.execute(sql, (provider_pubkey,)).fetchall())
        return [user_id for (user_id,) in rows]


def _open_code(db: sqlite3.Connection, code: str, now: Millis) -> str:
    """The user of a code that can be claimed; raises `PairingRefused` with the reason."""
    found = db.execute(_FIND_CODE, (code,)).fetchone()
    if found is None:
        raise PairingRefused("invalid_code")
    user_id, expires_at, claimed_at = found
    if claimed_at is not None:
        raise PairingRefused("already_claimed")
    if expires_at <= now:
        raise PairingRefused("expired")
    return str(user_id)
