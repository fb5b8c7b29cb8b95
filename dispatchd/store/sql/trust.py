"""Pairing codes and pairings in the store."""

import hmac

from dispatchd.core.errors import PairingRefused
from dispatchd.core.job import Millis
from dispatchd.core.rate import Counted
from dispatchd.core.trust import Pairing, PairingCode
from dispatchd.store.sql import rates
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads

_HASHED_UNDER = "SELECT secret FROM pairing_secret"
_FIND_CODE = "SELECT user_id, expires_at, claimed_at FROM pairing_codes WHERE code_hash = ?"
_ADD_CODE = (
    "INSERT INTO pairing_codes VALUES (?, ?, ?, NULL) ON CONFLICT (code_hash) DO UPDATE SET"
    " user_id = excluded.user_id, expires_at = excluded.expires_at, claimed_at = NULL"
    " WHERE pairing_codes.expires_at <= ?"
)
_CLAIM = "UPDATE pairing_codes SET claimed_at = ? WHERE code_hash = ?"
_PAIR = (
    "INSERT INTO pairings VALUES (?, ?, ?) ON CONFLICT (user_id, provider_pubkey) DO UPDATE SET"
    " paired_at = excluded.paired_at"
)
_UNPAIR = "DELETE FROM pairings WHERE user_id = ? AND provider_pubkey = ?"


class SqlTrust:
    """`TrustStore` over a writing and a reading connection."""

    def __init__(self, writer: Grouped, reader: Reads) -> None:
        self._write = writer.do
        self._read = reader.do

    async def add_code(self, code: PairingCode, now: Millis) -> bool:
        """Stores a code; one of the same letters that has expired is forgotten."""

        def add(db: Database) -> bool:
            values = (_hash(db, code.code), code.user_id, code.expires_at, now)
            return db.execute(_ADD_CODE, values).rowcount == 1

        return await self._write(add)

    async def claim_code(
        self, code: str, provider_pubkey: str, now: Millis, counted: Counted | None = None
    ) -> Pairing:
        """Uses a code up and pairs its user with the worker, in one transaction."""

        def claim(db: Database) -> Pairing | PairingRefused:
            if counted is not None:
                rates.alone_with(db, counted)
                rates.refuse_too_many(db, counted, now)
            code_hash = _hash(db, code)
            db.lock(f"pairing code {code_hash.hex()}")
            try:
                user_id = _open_code(db, code_hash, now)
            except PairingRefused as refused:
                if counted is not None:
                    rates.note(db, counted, now)
                return refused  # raised below: what is noted must be stored
            db.execute(_CLAIM, (now, code_hash))
            db.execute(_PAIR, (user_id, provider_pubkey, now))
            return Pairing(user_id, provider_pubkey, now)

        if counted is not None:  # whoever tries on and on is not let into the line of writes
            await self._read(lambda db: rates.refuse_too_many(db, counted, now))
        outcome = await self._write(claim)
        if isinstance(outcome, PairingRefused):
            raise outcome
        return outcome

    async def remove(self, user_id: str, provider_pubkey: str) -> bool:
        """Ends a pairing; whether there was one."""
        values = (user_id, provider_pubkey)
        return await self._write(lambda db: db.execute(_UNPAIR, values).rowcount == 1)

    async def pairings_of(self, user_id: str) -> list[Pairing]:
        """The workers that a user trusts."""
        sql = (
            "SELECT user_id, provider_pubkey, paired_at FROM pairings"
            " WHERE user_id = ? ORDER BY paired_at, provider_pubkey"
        )
        rows = await self._read(lambda db: db.execute(sql, (user_id,)).fetchall())
        return [Pairing(*row) for row in rows]

    async def users_of(self, provider_pubkey: str) -> list[str]:
        """The users that trust a worker; one who has just ended that is not among them."""
        sql = "SELECT user_id FROM pairings WHERE provider_pubkey = ?"
        rows = await self._write(lambda db: db.execute(sql, (provider_pubkey,)).fetchall())
        return [user_id for (user_id,) in rows]


def _hash(db: Database, code: str) -> bytes:
    """How a code is found: nobody who guesses knows which hashes are near one another."""
    (secret,) = db.execute(_HASHED_UNDER).fetchone()
    return hmac.digest(secret, code.encode(), "sha256")


def _open_code(db: Database, code_hash: bytes, now: Millis) -> str:
    """The user of a code that can be claimed; raises `PairingRefused` with the reason."""
    found = db.execute(_FIND_CODE, (code_hash,)).fetchone()
    if found is None:
        raise PairingRefused("invalid_code")
    user_id, expires_at, claimed_at = found
    if claimed_at is not None:
        raise PairingRefused("already_claimed")
    if expires_at <= now:
        raise PairingRefused("expired")
    return str(user_id)
