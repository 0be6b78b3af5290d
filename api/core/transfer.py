"""Moving everything from one database to another, of the same kind or not: read at one moment, written in one step.

The target's tables are filled in one transaction, and compared with what was read before it is committed: whatever ends
it before that, a `kill -9` or a lost connection, leaves the target empty, and the copy is simply started again.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, LargeBinary, Table, func, insert, select
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session

from api.core import dispatchers
from api.core.db import Base

#: Rows in one statement; of tables that hold files, fewer.
BATCH, BATCH_OF_FILES = 1000, 20

Tell = Callable[[str, int], None]


class TransferError(Exception):
    """A copy that cannot be made: one sentence that says why. The target holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What a table holds: its number of rows, and a sum over their contents that no order changes."""

    rows: int
    checksum: str


class _Digest:
    """Adds rows up to a `Sum`."""

    def __init__(self) -> None:
        self._rows = self._sum = 0

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows, each a sequence of Python values."""
        for row in rows:
            text = json.dumps([plain(value) for value in row], sort_keys=True)
            self._sum += int.from_bytes(hashlib.sha256(text.encode()).digest())
        self._rows += len(rows)

    def result(self) -> Sum:
        """Return the sum of what was added."""
        return Sum(self._rows, f"{self._sum % 2**256:064x}"[:32])


def tables() -> list[Table]:
    """Return all tables, each after those that it refers to."""
    return list(Base.metadata.sorted_tables)


def size(source: Engine) -> int:
    """Return how many rows there are, about: others may be writing."""
    with _reading(source) as connection:
        return sum(_count(connection, table) for table in tables())


def living(source: Engine) -> int:
    """Return how many dispatchers of this database have given a sign of life lately."""
    with Session(source) as session:
        return dispatchers.alive(session)


def copy(source: Engine, target: Engine, tell: Tell = lambda _table, _rows: None) -> dict[str, Sum]:
    """Copy all rows; return what each table holds. `tell` gets a table's name and how many more rows are written.

    Both databases have this version's schema. Raises TransferError, and then nothing was written.
    """
    try:
        with _reading(source) as reading, _writing(target) as writing:
            _refuse_taken(writing)
            sums = {table.name: _copy(reading, writing, table, tell) for table in tables()}
            _set_sequences(writing)
            for table in tables():
                _verify(writing, table, sums[table.name])
            return sums
    except (DBAPIError, StatementError) as error:
        said = str(error.orig).strip().splitlines() or [type(error).__name__]
        raise TransferError(f"The copy failed, and nothing of it is stored: {said[0].rstrip('.')}.") from error


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it, the same for all that are the same to us, however a database keeps them."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


@contextlib.contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection that sees the database as it is now, whoever writes meanwhile."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            snapshot = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with snapshot.begin():
                snapshot.exec_driver_sql("SET LOCAL statement_timeout = 0")
                snapshot.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield snapshot
        else:
            # The driver begins nothing by itself (see `db`), and each statement alone would see another moment.
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")


@contextlib.contextmanager
def _writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a durable transaction, with nobody else writing."""
    options: dict[str, Any] = {"postroom_write": True, "postroom_durable": True}
    sqlite = engine.dialect.name == "sqlite"
    if not sqlite:
        options["isolation_level"] = "READ COMMITTED"
    with engine.connect() as connection, connection.execution_options(**options).begin():
        if not sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            names = ", ".join(table.name for table in tables())
            connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        yield connection


def _refuse_taken(target: Connection) -> None:
    taken = [table.name for table in tables() if target.execute(select(table).limit(1)).first() is not None]
    if taken:
        raise TransferError(f"The target is not empty, there are rows in {', '.join(taken)}: it is left as it is.")


def _copy(source: Connection, target: Connection, table: Table, tell: Tell) -> Sum:
    digest = _Digest()
    into = insert(table)
    names = [column.key for column in table.columns]
    for rows in _batches(source, table):
        digest.add(rows)
        target.execute(into, [dict(zip(names, row, strict=True)) for row in rows])
        tell(table.name, len(rows))
    return digest.result()


def _verify(target: Connection, table: Table, wanted: Sum) -> None:
    digest = _Digest()
    for rows in _batches(target, table):
        digest.add(rows)
    found = digest.result()
    if found != wanted:
        raise TransferError(
            f"The copy of {table.name} is not the same, and nothing of it is stored:"
            f" {found.rows} rows of {wanted.rows}, checksum {found.checksum} for {wanted.checksum}."
        )


def _batches(connection: Connection, table: Table) -> Iterator[Sequence[Sequence[Any]]]:
    has_files = any(isinstance(column.type, LargeBinary) for column in table.columns)
    streamed = connection.execution_options(yield_per=BATCH_OF_FILES if has_files else BATCH)
    # Each by its type's own rules; the ORM would make objects of them.
    yield from (rows for rows in streamed.execute(select(*table.columns)).partitions())


def _set_sequences(target: Connection) -> None:
    """Have numbers that a server counts by itself go on behind the highest; SQLite looks for that each time."""
    if target.dialect.name == "sqlite":
        return
    for table in tables():
        column = table.autoincrement_column
        if column is not None and column.default is None:
            highest = target.scalar(select(func.max(column)))
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            if highest is not None:
                target.execute(select(func.setval(sequence, highest)))


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0
