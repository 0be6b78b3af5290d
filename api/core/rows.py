"""New rows on their way into tables: what an INSERT needs is worked out once for each table, not for each row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Column, Connection, Enum, Table, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.types import DateTime, TypeDecorator

from api.core.driver import codec

#: Rows by table, in the order in which they can be inserted: what is referred to comes first.
Rows = Sequence[tuple[Table, Sequence[Mapping[str, Any]]]]
#: The same as one dialect's driver takes them: each statement with the parameters of each row.
Prepared = Sequence[tuple["Insertion", list[tuple[Any, ...]]]]

_Column = tuple[str, Any, Callable[[Any], Any] | None]
#: Rows in one statement. Few sizes, so that the driver keeps all of the statements compiled.
_SIZES = (32, 8, 2, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Insertion:
    """The INSERT of a table: its text for so many rows, and the name, default and way to the driver of each column."""

    texts: Mapping[int, str]
    columns: Sequence[_Column]


def insert(connection: Connection, rows: Rows) -> None:
    """Insert rows, one statement for each table. A column that a row leaves out has its default, or null."""
    if connection.dialect.name == "sqlite":
        write(connection.exec_driver_sql, prepare(connection.dialect, rows))
        return
    for table, values in rows:
        if values:
            connection.execute(table.insert(), list(values))


def prepare(dialect: Dialect, rows: Rows) -> Prepared:
    """Return rows as the driver takes them; for dialects whose parameters go by position."""
    return [_prepared(dialect, table, values) for table, values in rows if values]


def write(execute: Callable[[str, tuple[Any, ...]], object], prepared: Prepared) -> None:
    """Carry prepared statements out.

    Many rows in one statement: with each statement the driver lets the other threads go first.
    """
    for insertion, parameters in prepared:
        at = 0
        for size in _SIZES:
            while len(parameters) - at >= size:
                execute(insertion.texts[size], tuple(chain.from_iterable(parameters[at : at + size])))
                at += size


def merged(several: Iterable[Prepared]) -> Prepared:
    """Return one set of statements for several, each table at the place where it first stands."""
    found: dict[Insertion, list[tuple[Any, ...]]] = {}
    for prepared in several:
        for statement, parameters in prepared:
            found.setdefault(statement, []).extend(parameters)
    return list(found.items())


def _prepared(
    dialect: Dialect, table: Table, values: Sequence[Mapping[str, Any]]
) -> tuple[Insertion, list[tuple[Any, ...]]]:
    made = insertion(dialect, table)
    return made, [
        tuple(
            [
                row.get(name, default) if process is None else process(row.get(name, default))
                for name, default, process in made.columns
            ]
        )
        for row in values
    ]


@lru_cache(maxsize=128)
def insertion(dialect: Dialect, table: Table, names: tuple[str, ...] | None = None) -> Insertion:
    """Return the INSERT of rows that have these columns in this order, or all that are not numbered by the database."""
    if names is None:
        names = tuple([column.name for column in table.columns if column is not table.autoincrement_column])
    nulls = dict.fromkeys(names)
    columns = [table.columns[name] for name in names]
    texts = {size: str(table.insert().values([nulls] * size).compile(dialect=dialect)) for size in _SIZES}
    return Insertion(
        texts,
        [(column.name, getattr(column.default, "arg", None), _process(dialect, column)) for column in columns],
    )


def _process(dialect: Dialect, column: Column[Any]) -> Callable[[Any], Any] | None:
    """Return what makes a column's values the driver's; of ids and times there are several in each row."""
    kind = column.type
    # What may not be null needs no look at whether it is.
    wrapped = _unless_none if column.nullable else _as_it_is
    if isinstance(kind, Uuid):
        return wrapped(codec(dialect.name).id)
    if isinstance(kind, TypeDecorator) and isinstance(kind.impl_instance, DateTime):
        return wrapped(codec(dialect.name).instant)
    if isinstance(kind, Enum) and kind.enum_class is not None:
        words: dict[Any, str | None] = {word: word.value for word in kind.enum_class}
        return ({None: None} | words).__getitem__  # raises a LookupError for others, as SQLAlchemy does
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _as_it_is(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return process


def _unless_none(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else process(value)
