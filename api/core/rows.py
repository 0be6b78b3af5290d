"""New rows on their way into tables: what an INSERT needs is worked out once for each table, not for each row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Connection, Enum, Table, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.schema import ScalarElementColumnDefault
from sqlalchemy.types import DateTime, TypeDecorator

from api.core import jsontext
from api.core.driver import codec

#: Rows by table, in the order in which they can be inserted: what is referred to comes first.
Rows = Sequence[tuple[Table, Sequence[Mapping[str, Any]]]]
#: The same as one dialect's driver takes them: each statement with the parameters of each row.
Prepared = Sequence[tuple["Insertion", list[tuple[Any, ...]]]]

#: Rows in one statement, the most first: what one commit takes of a table is mostly one. Of so few sizes the driver
#: keeps all statements compiled (128 of them).
_SIZES = (32, *range(16, 0, -1))
_EMPTY: Mapping[type, str] = {list: "[]", dict: "{}"}


@dataclass(frozen=True, slots=True, eq=False)
class Insertion:
    """The INSERT of a table: its text for so many rows, and what each row gets besides.

    `processes` are the ways to the driver of those values, by their places, that do not go as they are; null always
    does.
    """

    texts: Mapping[int, str]
    processes: Sequence[tuple[int, Callable[[Any], Any]]]
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
        while rest := len(parameters) - at:
            size = rest if rest in insertion.texts else next(size for size in _SIZES if size < rest)
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
    parameters = []
    for row in values:
        given = list(row.values())
        for at, process in made.processes:
            if (value := given[at]) is not None:
                given[at] = process(value)
        parameters.append((*given, *made.constants))
    return made, parameters


@lru_cache(maxsize=128)
def _shaped(dialect: Dialect, table: Table, names: tuple[str, ...]) -> Insertion:
    """Return the INSERT of rows that have these columns in this order, and of the others their defaults or null."""
    defaults = {
        column.name: column.default.arg
        for column in table.columns
        if column.name not in names and isinstance(column.default, ScalarElementColumnDefault)
    }
    made = insertion(dialect, table, (*names, *defaults))
    ways = dict(made.processes)
    constants = [ways[at](value) if at in ways else value for at, value in enumerate(defaults.values(), len(names))]
    given = [(at, process) for at, process in made.processes if at < len(names)]
    return Insertion(made.texts, given, tuple(constants))


@lru_cache(maxsize=128)
def insertion(dialect: Dialect, table: Table, names: tuple[str, ...], otherwise: str = "") -> Insertion:
    """Return the INSERT of rows that have these columns in this order; for dialects whose parameters are `?`.

    `otherwise` is what SQLite does with a row that breaks a rule, if not what it always does.
    """
    # SQLAlchemy would put the columns into the table's order.
    form = dialect.identifier_preparer
    columns = ", ".join([form.quote(name) for name in names])
    into = f"INSERT {otherwise} INTO {form.format_table(table)} ({columns}) VALUES "  # noqa: S608 -- names of ours
    row = f"({', '.join('?' * len(names))})"
    texts = {size: into + ", ".join([row] * size) for size in _SIZES}
    ways = [_process(dialect, table.columns[name]) for name in names]
    return Insertion(texts, [(at, way) for at, way in enumerate(ways) if way is not None])


def _process(dialect: Dialect, column: Column[Any]) -> Callable[[Any], Any] | None:
    """Return what makes a column's values the driver's; of ids and times there are several in each row."""
    kind = column.type
    if isinstance(kind, Uuid):
        return codec(dialect.name).id
    if isinstance(kind, TypeDecorator) and isinstance(kind.impl_instance, DateTime):
        return codec(dialect.name).instant
    if isinstance(kind, Enum) and kind.enum_class is not None:
        words = {word: word.value for word in kind.enum_class}
        return words.__getitem__  # raises a LookupError for others, as SQLAlchemy does
    if isinstance(kind, JSON) and dialect.name == "sqlite":
        return _json
    if isinstance(kind, Boolean):
        return int  # sqlite3 would ask everybody how to adapt it, and come to the same
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _json(value: Any) -> str:
    """Return JSON as a column holds it; of most rows it is empty."""
    return _EMPTY[type(value)] if not value and type(value) in _EMPTY else jsontext.dump(value).decode()
