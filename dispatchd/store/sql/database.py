"""What the statements of a store ask of a connection, whichever database is behind it.

A statement is written once. Its parameters stand in it as `?` or `?1`, and it keeps to what SQLite
and PostgreSQL both know.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement has found or changed."""

    @property
    def rowcount(self) -> int:
        """How many rows it has changed."""
        ...

    def fetchone(self) -> Any:
        """The next row that it has found, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that it has found."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """A connection as an operation sees it, which runs from its first statement to its last."""

    @property
    def IntegrityError(self) -> type[Exception]:  # noqa: N802 - so sqlite3 names it
        """Raised where a statement would break a constraint; it has changed nothing then."""
        ...

    @property
    def OperationalError(self) -> type[Exception]:  # noqa: N802 - so sqlite3 names it
        """Raised where the database itself is in trouble, and no operation can go on."""
        ...

    @property
    def total_changes(self) -> int:
        """How many rows have been changed on this connection."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Rows:
        """Runs a statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Rows:
        """Runs a statement that finds nothing once for each of these sets of parameters."""
        ...

    def execute_rows(
        self, sql: str, types: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> Sequence[Rows]:
        """Runs a statement over many rows; what came of it, in as many parts as that took.

        The rows stand in the statement as `{rows}`: a query of columns `column1` and so on, which
        have these SQL types.
        """
        ...

    def refuse_other_version(self) -> None:
        """Raises `StoreUnavailable` where the database is of a version that is not known here."""
        ...

    def lock(self, name: str) -> None:
        """Nobody else goes past this with the same name until the transaction ends.

        For what is looked at before it is changed, which no guard in a statement can do.
        """
        ...
