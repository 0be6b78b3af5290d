"""New rows on their way into tables: what an INSERT needs is worked out once for each table, not for each row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.engine import Dialect

#: Rows by table, in the order in which they can be inserted: what is referred to comes first.
Rows = Sequence[tuple[Table, Sequence[Mapping[str, Any]]]]
#: The same as one dialect's driver takes them: each statement with its parameters.
Prepared = Sequence[tuple[str, list[tuple[Any, ...]]]]

_Column = tuple[str, Any, Callable[[Any], Any] | None]


def insert(connection: Connection, rows: Rows) -> None:
    """Insert rows, one statement for each table. A column that a row leaves out has its default, or null."""
    if connection.dialect.name == "sqlite":
        write(connection, prepare(connection.dialect, rows))
        return
    for table, values in rows:
        if values:
            connection.execute(table.insert(), list(values))


def prepare(dialect: Dialect, rows: Rows) -> Prepared:
    """Return rows as the driver takes them; for dialects whose parameters go by position."""
    return [_prepared(dialect, table, values) for table, values in rows if values]


def write(connection: Connection, prepared: Prepared) -> None:
    """Carry prepared statements out."""
    for statement, parameters in prepared:
        connection.exec_driver_sql(statement, parameters)


def merged(several: Iterable[Prepared]) -> Prepared:
    """Return one set of statements for several, each table at the place where it first stands."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for prepared in several:
        for statement, parameters in prepared:
            found.setdefault(statement, []).extend(parameters)
    return list(found.items())


def _prepared(
    dialect: Dialect, table: Table, values: Sequence[Mapping[str, Any]]
) -> tuple[str, list[tuple[Any, ...]]]:
    statement, columns = _insertion(dialect, table)
    return statement, [
        tuple(
            [
                row.get(name, default) if process is None else process(row.get(name, default))
                for name, default, process in columns
            ]
        )
        for row in values
    ]


@lru_cache(maxsize=128)
def _insertion(dialect: Dialect, table: Table) -> tuple[str, Sequence[_Column]]:
    """Return the INSERT of a table, and each column's name, default and way to the driver."""
    columns = [column for column in table.columns if column is not table.autoincrement_column]
    statement = str(table.insert().values({column.name: None for column in columns}).compile(dialect=dialect))
    return statement, [
        (
            column.name,
            getattr(column.default, "arg", None),
            column.type.dialect_impl(dialect).bind_processor(dialect),
        )
        for column in columns
    ]
