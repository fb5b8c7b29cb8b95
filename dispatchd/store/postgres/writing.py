"""A group of writes in PostgreSQL: one transaction, which others do not see until it is whole."""

from typing import Any

import asyncpg

from dispatchd.store.postgres.database import Database
from dispatchd.store.postgres.errors import Contended, Spoilt
from dispatchd.store.sql.groups import Bulk, Operation, outcomes_of

_TRIES = 5


def writing(db: Database, operations: list[Operation | Bulk]) -> list[Any]:
    """Runs operations in one transaction, which is on disk when this returns.

    A statement that breaks a constraint spoils its transaction, and two groups that lock the same
    rows in another order wait for each other. Then each operation gets a transaction of its own.
    """
    try:
        return _once(db, operations)
    except (Spoilt, Contended):
        return [_alone(db, operation) for operation in operations]


def _alone(db: Database, operation: Operation | Bulk) -> Any:
    """What came of an operation, or why it could not be done."""
    for _ in range(_TRIES):
        try:
            (outcome,) = _once(db, [operation])
        except Spoilt as error:
            return error.__cause__ or error
        except Contended as error:
            outcome = error
        else:
            break
    return outcome


def _once(db: Database, operations: list[Operation | Bulk]) -> list[Any]:
    db.begin()
    try:
        outcomes = outcomes_of(db, operations)
    except (Spoilt, Contended):
        db.rollback()
        raise
    if not db.commit():
        broken = next((each for each in outcomes if isinstance(each, asyncpg.PostgresError)), None)
        raise Spoilt("a statement failed") from broken
    return outcomes
