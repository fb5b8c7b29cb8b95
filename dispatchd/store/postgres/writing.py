"""A group of writes in PostgreSQL: one transaction, which others do not see until it is whole."""

from typing import Any

import asyncpg

from dispatchd.store.postgres.database import Database
from dispatchd.store.postgres.errors import Contended, Spoilt
from dispatchd.store.sql.groups import Bulk, Operation, outcomes_of

_TRIES = 5


def writing(db: Database, operations: list[Operation | Bulk]) -> list[Any]:
    """Runs operations in one transaction, which is on disk when this returns.

    A statement that breaks a constraint spoils its transaction; then each operation gets one of
    its own.
    """
    try:
        return _committed(db, operations)
    except Spoilt:
        return [_alone(db, operation) for operation in operations]


def _alone(db: Database, operation: Operation | Bulk) -> Any:
    try:
        (outcome,) = _committed(db, [operation])
    except Spoilt as error:
        return error.__cause__ or error
    return outcome


def _committed(db: Database, operations: list[Operation | Bulk]) -> list[Any]:
    """The outcomes; what others were in the way of is tried again from the start."""
    for _ in range(_TRIES - 1):
        try:
            return _once(db, operations)
        except Contended:
            continue
    return _once(db, operations)


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
