"""Payments where several coordinators capture them: each its own, and those of one that is gone."""

from dispatchd.core.job import Millis
from dispatchd.core.payment import Payment
from dispatchd.store.postgres.cluster import ALIVE
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.payments import SqlPayments

_MINE = "holder = current_setting('dispatchd.coordinator')"
_OF_THE_GONE = f"""
    state IN ('verifying', 'capturing') AND NOT {_MINE} AND NOT EXISTS (
        SELECT 1 FROM coordinators WHERE coordinator_key = holder AND {ALIVE}
    )
"""
_ANY_OF_THE_GONE = f"SELECT 1 FROM payments WHERE {_OF_THE_GONE} LIMIT 1"
_TAKE = f"""
    UPDATE payments SET holder = current_setting('dispatchd.coordinator'),
        tries = tries + CASE WHEN state = 'capturing' THEN 1 ELSE 0 END,
        next_try = CASE WHEN state = 'capturing' THEN CAST(? AS bigint) END
    WHERE (network, token, payer, nonce) IN (
        SELECT network, token, payer, nonce FROM payments WHERE {_OF_THE_GONE}
        FOR UPDATE SKIP LOCKED
    )
    RETURNING network, token, payer, nonce, state
"""
_DROP = f"""
    DELETE FROM payments WHERE network = ? AND token = ? AND payer = ? AND nonce = ?
        AND state = 'verifying' AND {_MINE}
"""


class PostgresPayments(SqlPayments):
    """`PaymentStore` over a line of writes and a pool of readers."""

    holder = f" AND {_MINE}"

    async def due(self, now: Millis, limit: int) -> list[Payment]:
        """Payments of this coordinator that are due, and those of one that is gone.

        What such a one was moving may have moved; what it was verifying has come to nothing.
        """
        if await self._read(lambda db: db.execute(_ANY_OF_THE_GONE).fetchone()) is not None:
            await self._write(lambda db: _take_over(db, now))
        return await super().due(now, limit)


def _take_over(db: Database, now: Millis) -> None:
    for *key, state in db.execute(_TAKE, (now,)).fetchall():
        if state == "verifying":
            db.execute(_DROP, key)
