"""A group of writes in SQLite: one transaction, one flush."""

from typing import Any

from dispatchd.store.sql.groups import Bulk, Operation, outcomes_of
from dispatchd.store.sqlite.connection import Database


def writing(db: Database, operations: list[Operation | Bulk]) -> list[Any]:
    """Runs operations in one transaction, which is on disk when this returns."""
    db.execute("BEGIN IMMEDIATE")
    try:
        db.refuse_other_version()
        outcomes = outcomes_of(db, operations)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return outcomes
