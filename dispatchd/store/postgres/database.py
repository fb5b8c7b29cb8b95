"""A connection to PostgreSQL as our operations see it."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import count
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from dispatchd.core.errors import StoreUnavailable
from dispatchd.core.neighbour import Bell
from dispatchd.store.postgres.bridge import wait_for
from dispatchd.store.postgres.errors import our_errors
from dispatchd.store.postgres.migrate import refuse_other_version

_PARAMETER = re.compile(r"\?(\d*)")
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))"
_PREPARED_MAX = 256
_BELLS = frozenset(Bell)


class Rows:
    """What a statement has found, and how many rows it has changed."""

    def __init__(self, found: Sequence[Any], rowcount: int) -> None:
        self._found = iter([tuple(row) for row in found])
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        """The next row, or None."""
        return next(self._found, None)

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        return list(self._found)

    def __iter__(self) -> Iterator[Any]:
        return self._found


class Database:
    """Runs statements one after another; to be used within `bridged` alone."""

    IntegrityError: type[Exception] = asyncpg.IntegrityConstraintViolationError
    OperationalError: type[Exception] = StoreUnavailable

    def __init__(
        self,
        connection: "asyncpg.Connection[Any]",
        rung: Callable[[AbstractSet[Bell]], None] = lambda _: None,
    ) -> None:
        """`rung` is told of the bells that a transaction rings, once it is on disk."""
        self._connection = connection
        self._rung = rung
        self._bells: set[Bell] = set()
        connection.add_log_listener(self._hear)
        self._prepared: dict[str, PreparedStatement[Any]] = {}
        self.total_changes = 0

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Runs a statement."""
        with our_errors():
            statement = self._statement(sql)
            found = wait_for(statement.fetch(*map(_storable, parameters)))
        changed = _changed(statement.get_statusmsg())
        self.total_changes += changed
        return Rows(found, changed)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Rows:
        """Runs a statement for each of these sets of parameters, without a wait between them."""
        sets = list(parameters)
        with our_errors():
            wait_for(self._statement(sql).executemany(sets))
        self.total_changes += len(sets)
        return Rows((), len(sets))

    def execute_rows(
        self, sql: str, types: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> list[Rows]:
        """Runs a statement over rows that come as one array for each column."""
        if not rows:
            return []
        return [self.execute(_over_arrays(sql, tuple(types)), list(zip(*rows, strict=True)))]

    def refuse_other_version(self) -> None:
        """Looks at the version, which another program may have changed meanwhile."""
        with our_errors():
            wait_for(refuse_other_version(self._connection))

    def lock(self, name: str) -> None:
        """Waits until nobody else has this name, and has it until the transaction ends."""
        self.execute(_LOCK, (name,))

    def begin(self) -> None:
        """A transaction begins."""
        self._bells.clear()
        self.execute("BEGIN")

    def commit(self) -> bool:
        """Ends it; whether what it has changed stays, which a failed statement forbids."""
        with our_errors():
            statement = self._statement("COMMIT")
            wait_for(statement.fetch())
        stays = str(statement.get_statusmsg()) == "COMMIT"
        if stays:
            self._rung(frozenset(self._bells))
        return stays

    def rollback(self) -> None:
        """Ends it; nothing has changed."""
        self.execute("ROLLBACK")

    def _hear(self, _: object, notice: asyncpg.PostgresLogMessage) -> None:
        if (words := notice.as_dict().get("message")) in _BELLS:
            self._bells.add(Bell(words))

    def _statement(self, sql: str) -> "PreparedStatement[Any]":
        if (known := self._prepared.get(sql)) is not None:
            return known
        if len(self._prepared) >= _PREPARED_MAX:
            self._prepared.clear()
        statement = wait_for(self._connection.prepare(numbered(sql)))
        self._prepared[sql] = statement
        return statement


@lru_cache(maxsize=512)
def numbered(sql: str) -> str:
    """The statement with PostgreSQL's names for its parameters: `$1`, `$2` and so on for `?`."""
    numbers = count(1)
    return _PARAMETER.sub(lambda found: f"${found[1] or next(numbers)}", sql)


@lru_cache(maxsize=64)
def _over_arrays(sql: str, types: tuple[str, ...]) -> str:
    columns = ", ".join(f"column{place}" for place in range(1, len(types) + 1))
    arrays = ", ".join(f"CAST(? AS {name}[])" for name in types)
    return sql.format(rows=f"SELECT {columns} FROM unnest({arrays}) AS given ({columns})")


def _storable(value: Any) -> Any:
    """A value that PostgreSQL can store or look for; its texts have no NUL."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd") if "\0" in value else value
    return list(map(_storable, value)) if isinstance(value, tuple) else value


def _changed(status: str | None) -> int:
    """The number in `INSERT 0 3`, `UPDATE 3` or `DELETE 3`; 0 for what changes nothing."""
    verb, *numbers = (status or "").split() or [""]
    return int(numbers[-1]) if verb in {"INSERT", "UPDATE", "DELETE"} else 0
