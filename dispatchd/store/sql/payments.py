"""Payments in the store: every statement on the table `payments`, but for its triggers."""

from typing import Any

import msgspec

from dispatchd.core.errors import LeaseLost, TooManyOpenPayments
from dispatchd.core.job import Millis
from dispatchd.core.payment import AuthorizationKey, Offer, Payment, PaymentState
from dispatchd.store.sql import chain
from dispatchd.store.sql.database import Database
from dispatchd.store.sql.groups import Grouped, Reads

_FIELDS = (
    "state",
    "job_id",
    "digest",
    "fingerprint",
    "created_at",
    "text",
    "transaction_id",
    "reason",
    "tries",
    "next_try",
)
_COLUMNS = ("network", "token", "payer", "nonce", "offer", *_FIELDS)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM payments"
_INSERT = (
    f"INSERT INTO payments ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    " ON CONFLICT DO NOTHING"
)
_KEY = "network = ? AND token = ? AND payer = ? AND nonce = ?"
_OPEN = "state IN ('verifying', 'authorized', 'capturing')"
# What is being verified does not count: anybody may have sent it in the payer's name.
_COUNT = """
    SELECT count(*) FILTER (WHERE state IN ('authorized', 'capturing')),
        count(*) FILTER (WHERE state = 'captured')
    FROM payments WHERE payer = ?
"""
_AUTHORIZE = (
    f"UPDATE payments SET state = ?, tries = ?, next_try = ? WHERE {_KEY} AND state = 'verifying'"
)
_END = (
    "UPDATE payments SET state = ?, transaction_id = ?, reason = ?, text = NULL, next_try = NULL"
    f" WHERE {_KEY} AND state = 'capturing' AND tries = ?"
)
# Money that has moved no longer has an end, so that a job loses no time by waiting for it.
_COMPLETE = (
    "UPDATE jobs SET"
    " completed_at = CASE WHEN status = 'capturing' THEN CAST(?1 AS bigint) END,"
    " end_by = CASE WHEN status = 'unpaid' THEN end_by + ?1 - created_at ELSE end_by END,"
    " status = CASE WHEN status = 'capturing' THEN 'completed' ELSE 'pending' END"
    " WHERE id = ?2 AND status IN ('unpaid', 'capturing')"
)
_FAIL = (
    "UPDATE jobs SET status = 'failed', error = ?, output = NULL, receipt = NULL,"
    " signature = NULL, completed_at = NULL WHERE id = ? AND status IN ('unpaid', 'capturing')"
)
_STATES = "SELECT state, count(*) FROM payments GROUP BY state"
_RETRY_SECONDS = 2


class SqlPayments:
    """`PaymentStore` over a writing and a reading connection."""

    holder = ""
    """A condition on the payments that are this coordinator's to capture."""

    def __init__(self, writer: Grouped, reader: Reads) -> None:
        self._write = writer.do
        self._read = reader.do

    async def find(self, key: AuthorizationKey) -> Payment | None:
        """The payment with that authorization."""
        return await self._one(f"WHERE {_KEY}", *_key(key))

    async def of_job(self, job_id: str) -> Payment | None:
        """What pays for a job."""
        return await self._one("WHERE job_id = ?", job_id)

    async def reserve(self, payment: Payment, open_max: int) -> bool:
        """Stores a payment that is to be verified, unless its authorization has been used."""

        def insert(db: Database) -> bool:
            _alone_with(db, payment.key.payer)
            if db.execute(f"{_SELECT} WHERE {_KEY}", _key(payment.key)).fetchone() is not None:
                return False
            _refuse_too_many(db, payment.key.payer, open_max)
            return db.execute(_INSERT, _row(payment)).rowcount == 1

        return await self._write(insert)

    async def drop(self, key: AuthorizationKey) -> None:
        """Forgets a payment that has come to nothing while it was verified."""
        sql = f"DELETE FROM payments WHERE {_KEY} AND state = 'verifying'"
        await self._write(lambda db: db.execute(sql, _key(key)).rowcount)

    async def recover(self, now: Millis) -> int:
        """Brings into order what a former process left; how many payments are open then."""

        def run(db: Database) -> int:
            mine = f"{_OPEN}{self.holder}"
            db.execute(f"DELETE FROM payments WHERE {mine} AND state = 'verifying'")
            db.execute(
                "UPDATE payments SET tries = tries + 1, next_try = ?"
                f" WHERE {mine} AND state = 'capturing'",
                (now,),
            )
            (count,) = db.execute(f"SELECT count(*) FROM payments WHERE {mine}").fetchone()
            return int(count)

        return await self._write(run)

    async def count(self) -> dict[PaymentState, int]:
        """Goes through an index, not the rows."""
        rows = await self._read(lambda db: db.execute(_STATES).fetchall())
        return dict.fromkeys(PaymentState, 0) | {PaymentState(state): n for state, n in rows}

    async def must_pay_first(self, payer: str) -> bool:
        """Whether a capture from this payer was ever refused."""
        sql = "SELECT 1 FROM payments WHERE payer = ? AND state = 'failed' LIMIT 1"
        return await self._read(lambda db: db.execute(sql, (payer,)).fetchone()) is not None

    async def due(self, now: Millis, limit: int) -> list[Payment]:
        """Payments that are to be captured now, the longest due first."""
        mine = f"state = 'capturing'{self.holder}"
        sql = f"{_SELECT} WHERE {mine} AND next_try <= ? ORDER BY next_try LIMIT ?"
        rows = await self._read(lambda db: db.execute(sql, (now, limit)).fetchall())
        return [_payment(row) for row in rows]

    async def next_due(self) -> Millis | None:
        """When the next capture is due, if one is."""
        sql = f"SELECT min(next_try) FROM payments WHERE state = 'capturing'{self.holder}"
        (at,) = await self._read(lambda db: db.execute(sql).fetchone())
        return None if at is None else int(at)

    async def postpone(self, payment: Payment, until: Millis) -> None:
        """The outcome of a try is not known; another is due at a moment."""
        sql = (
            "UPDATE payments SET tries = tries + 1, next_try = ?"
            f" WHERE {_KEY} AND state = 'capturing' AND tries = ?"
        )
        values = (until, *_key(payment.key), payment.tries)
        await self._write(lambda db: db.execute(sql, values).rowcount)

    async def captured(self, payment: Payment, transaction: str | None, at: Millis) -> None:
        """The money has moved: the job's result is released, or the job may start."""

        def end(db: Database) -> None:
            _end(db, payment, PaymentState.CAPTURED, transaction, None)
            db.execute(_COMPLETE, (at, payment.job_id))
            chain.append_stored(db, payment.job_id)

        await self._write(end)

    async def refused(self, payment: Payment, reason: str, error: str) -> None:
        """The money will not move: the job fails with an error."""

        def end(db: Database) -> None:
            _end(db, payment, PaymentState.FAILED, None, reason)
            db.execute(_FAIL, (error, payment.job_id))

        await self._write(end)

    async def _one(self, condition: str, *values: object) -> Payment | None:
        sql = f"{_SELECT} {condition}"
        row = await self._read(lambda db: db.execute(sql, values).fetchone())
        return None if row is None else _payment(row)


def authorize(db: Database, key: AuthorizationKey, open_max: int, *, capture_now: bool) -> None:
    """A verified payment is reserved for its job, which is stored by the same operation.

    With `capture_now` its capture is due. Raises `TooManyOpenPayments`, and `LeaseLost` where it
    is no longer being verified.
    """
    _alone_with(db, key.payer)
    _refuse_too_many(db, key.payer, open_max)
    state = PaymentState.CAPTURING if capture_now else PaymentState.AUTHORIZED
    values = (state, 0, 0 if capture_now else None)
    if db.execute(_AUTHORIZE, (*values, *_key(key))).rowcount == 0:
        raise LeaseLost("the payment is no longer reserved")


def _alone_with(db: Database, payer: str) -> None:
    db.lock(f"payer {payer}")


def _refuse_too_many(db: Database, payer: str, open_max: int) -> None:
    opened, captured = db.execute(_COUNT, (payer,)).fetchone()
    if payer and opened >= open_max + captured:
        raise TooManyOpenPayments(_RETRY_SECONDS)


def _end(
    db: Database,
    payment: Payment,
    state: PaymentState,
    transaction: str | None,
    reason: str | None,
) -> None:
    values = (state, transaction, reason, *_key(payment.key), payment.tries)
    if db.execute(_END, values).rowcount == 0:
        raise LeaseLost("the payment is no longer being captured")


def _key(key: AuthorizationKey) -> tuple[str, str, str, str]:
    return (key.network, key.token, key.payer, key.nonce)


def _row(payment: Payment) -> tuple[object, ...]:
    values = msgspec.structs.asdict(payment)
    values["transaction_id"] = payment.transaction
    offer = msgspec.json.encode(payment.offer).decode()
    return (*_key(payment.key), offer, *(values[name] for name in _FIELDS))


def _payment(row: tuple[Any, ...]) -> Payment:
    *key, offer = row[:5]
    values = dict(zip(_FIELDS, row[5:], strict=True))
    values["transaction"] = values.pop("transaction_id")
    values["state"] = PaymentState(values["state"])
    return Payment(
        key=AuthorizationKey(*key), offer=msgspec.json.decode(offer, type=Offer), **values
    )
