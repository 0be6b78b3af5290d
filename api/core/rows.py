"""New rows on their way into tables: what an INSERT needs is worked out once for each table, not for each row."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from typing import Any

from sqlalchemy import JSON, Column, Connection, Enum, Table, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.schema import ScalarElementColumnDefault
from sqlalchemy.types import DateTime, TypeDecorator

from api.core.driver import codec

#: Rows by table, in the order in which they can be inserted: what is referred to comes first.
Rows = Sequence[tuple[Table, Sequence[Mapping[str, Any]]]]
#: The same as one dialect's driver takes them: each statement with the parameters of each row.
Prepared = Sequence[tuple["Insertion", list[tuple[Any, ...]]]]

#: Rows in one statement. Few sizes, so that the driver keeps all of the statements compiled.
_SIZES = (32, 8, 2, 1)
_compact = json.JSONEncoder(separators=(",", ":")).encode
_EMPTY: Mapping[type, str] = {list: "[]", dict: "{}"}


@dataclass(frozen=True, slots=True, eq=False)
class Insertion:
    """The INSERT of a table: its text for so many rows, the way to the driver of each value, and what each row gets."""

    texts: Mapping[int, str]
    processes: Sequence[Callable[[Any], Any] | None]
    #: The defaults of the last columns, as the driver has them.
    constants: tuple[Any, ...] = ()


def insert(connection: Connection, rows: Rows) -> None:
    """Insert rows, one statement for each table. A column that a row leaves out has its default, or null."""
    if connection.dialect.name == "sqlite":
        write(connection.exec_driver_sql, prepare(connection.dialect, rows))
        return
    for table, values in rows:
        if values:
            connection.execute(table.insert(), list(values))


def prepare(dialect: Dialect, rows: Rows) -> Prepared:
    """Return rows as the driver takes them; for dialects whose parameters are `?`."""
    return [
        _prepared(_shaped(dialect, table, names), alike)
        for table, values in rows
        for names, alike in groupby(values, tuple)
    ]


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


def _prepared(made: Insertion, values: Iterable[Mapping[str, Any]]) -> tuple[Insertion, list[tuple[Any, ...]]]:
    processes, constants = made.processes, made.constants
    return made, [
        (
            *[
                value if process is None else process(value)
                for process, value in zip(processes, row.values(), strict=True)
            ],
            *constants,
        )
        for row in values
    ]


@lru_cache(maxsize=128)
def _shaped(dialect: Dialect, table: Table, names: tuple[str, ...]) -> Insertion:
    """Return the INSERT of rows that have these columns in this order, and of the others their defaults or null."""
    defaults = {
        column.name: column.default.arg
        for column in table.columns
        if column.name not in names and isinstance(column.default, ScalarElementColumnDefault)
    }
    made = insertion(dialect, table, (*names, *defaults))
    ways = made.processes[len(names) :]
    constants = [way(value) if way else value for way, value in zip(ways, defaults.values(), strict=True)]
    return Insertion(made.texts, made.processes[: len(names)], tuple(constants))


@lru_cache(maxsize=128)
def insertion(dialect: Dialect, table: Table, names: tuple[str, ...]) -> Insertion:
    """Return the INSERT of rows that have these columns in this order; for dialects whose parameters are `?`."""
    # SQLAlchemy would put the columns into the table's order.
    form = dialect.identifier_preparer
    into = f"INSERT INTO {form.format_table(table)} ({', '.join([form.quote(name) for name in names])}) VALUES "  # noqa: S608 -- names of ours
    row = f"({', '.join('?' * len(names))})"
    texts = {size: into + ", ".join([row] * size) for size in _SIZES}
    return Insertion(texts, [_process(dialect, table.columns[name]) for name in names])


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
    if isinstance(kind, JSON) and dialect.name == "sqlite":
        return wrapped(_json)
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _json(value: Any) -> str:
    """Return JSON as a column holds it; of most rows it is empty."""
    return _compact(value) if value else _EMPTY.get(type(value)) or _compact(value)


def _as_it_is(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return process


def _unless_none(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else process(value)
