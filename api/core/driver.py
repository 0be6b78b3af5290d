"""Statements that take and give the driver's own values: for rows by the thousand.

SQLAlchemy looks at each value of each row on its way in and out, which costs more than the database does. A statement
in here is written with its tables as all others are, compiled once, and then run as it stands. What the drivers hold
is not the same: SQLite has ids as 32 hexadecimal digits and times as text in UTC, psycopg has them as such.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any
from uuid import UUID, SafeUUID

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    ColumnExpressionArgument,
    Connection,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    select,
    type_coerce,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from schemas.instants import to_the_second

#: Before the name of the table, for SQLite: what breaks a rule of the tables ends the transaction. SQLite need not note
#: then, page by page and for many rows in a temporary file, how one statement is undone.
OR_ROLLBACK = "OR ROLLBACK"

_new = object.__new__
#: The ways to an id's values past its refusal to be changed.
_set_int, _set_safe = vars(UUID)["int"].__set__, vars(UUID)["is_safe"].__set__
#: An attribute of an enumeration takes long to find.
_UNKNOWN = SafeUUID.unknown


@dataclass(frozen=True, slots=True)
class Codec:
    """How a driver wants its ids and times (aware, in UTC)."""

    id: Callable[[UUID], Any]
    instant: Callable[[datetime], Any]


class TextId(UUID):
    """An id with its text, which is asked for several times: on its way into each table, and back into them."""

    __slots__ = ("hex",)
    hex: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_hex(self, f"{self.int:032x}")

    def __str__(self) -> str:
        """Look like any other id, without counting its digits anew."""
        digits = self.hex
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def __repr__(self) -> str:
        """Look like any other id."""
        return f"UUID('{self}')"

    def __reduce__(self) -> tuple[type[UUID], tuple[str]]:
        """Be copied, and leave the process, as any other id."""
        return UUID, (self.hex,)


_set_hex = vars(TextId)["hex"].__set__


class Statement:
    """A statement of Core; parameters are given by name as the driver has them, constants stand in it."""

    def __init__(self, element: ClauseElement) -> None:
        self._element = element
        self._compiled: dict[str, tuple[str, Sequence[str] | None, Mapping[str, Any]]] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """Run it and return its rows, which are tuples."""
        text, names, constants = self._prepared(connection.dialect)
        given = {**constants, **values}
        parameters = given if names is None else tuple([given[name] for name in names])
        # The driver's cursor: a result of SQLAlchemy's makes an object of each row.
        result = connection.exec_driver_sql(text, parameters)
        rows: Sequence[Any] = result.cursor.fetchall()
        result.close()
        return rows

    def columns(self, connection: Connection, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Run it once for all rows, whose values are in the order of these names: each name is given a list."""
        text, _, constants = self._prepared(connection.dialect)
        values = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
        connection.exec_driver_sql(text, {**constants, **values})

    def _prepared(self, dialect: Dialect) -> tuple[str, Sequence[str] | None, Mapping[str, Any]]:
        known = self._compiled.get(dialect.name)
        if known is None:
            known = self._compiled[dialect.name] = _compile(self._element, dialect)
        return known


class _Phrase(FunctionElement[Any]):
    """A function of one argument, with another form in each dialect."""

    inherit_cache = True
    forms: Mapping[str, str]


@compiles(_Phrase)
def _in_its_form(element: _Phrase, compiler: SQLCompiler, **options: Any) -> str:
    return element.forms[compiler.dialect.name].format(compiler.process(element.clauses, **options))


class _Listed(_Phrase):
    """A table of what a JSON list holds."""

    name = "listed"
    inherit_cache = True
    forms = MappingProxyType({"sqlite": "json_each({})", "postgresql": "json_array_elements_text(CAST({} AS JSON))"})


class _Octets(_Phrase):
    """A text's octets; psycopg would get them as twice as many hexadecimal digits."""

    name = "octets"
    inherit_cache = True
    forms = MappingProxyType({"sqlite": "CAST({} AS BLOB)", "postgresql": "{}"})


def octets(column: ColumnExpressionArgument[Any]) -> ColumnElement[Any]:
    """Return a text as its octets in UTF-8, where the driver has them for less than the text."""
    return _Octets(column)


def each(name: str) -> Select[UUID]:
    """Return what stands behind IN for a parameter that `listed` has made: one text, however many ids there are."""
    return select(cast(_Listed(bindparam(name, type_=Text)).table_valued("value").c.value, Uuid))


def listed(ids: Iterable[UUID]) -> str:
    """Return ids as the parameter of `each`."""
    return "[" + ",".join([f'"{one.hex}"' for one in ids]) + "]"


def raw(column: ColumnExpressionArgument[Any]) -> ColumnElement[Any]:
    """Return a column whose values are left as the driver has them."""
    return type_coerce(column, NullType())


@lru_cache(maxsize=8)
def codec(dialect: str) -> Codec:
    """Return what a driver wants, by the name of its dialect."""
    if dialect == "sqlite":
        return Codec(attrgetter("hex"), text_of)
    return Codec(_itself, _itself)


def uuid_of(value: Any) -> UUID:
    """Return an id that a driver has given."""
    if not isinstance(value, str):
        found: UUID = value
        return found
    return _made(int(value, 16), value)


def uuid_from(number: int) -> UUID:
    """Return the id of a number below 2^128."""
    return _made(number, f"{number:032x}")


def _made(number: int, text: str) -> UUID:
    # What UUID() does, without its questions: they would take three times as long, for every row.
    made = _new(TextId)
    _set_int(made, number)
    _set_safe(made, _UNKNOWN)
    _set_hex(made, text)
    return made


def instant_of(value: Any) -> datetime:
    """Return a time that a driver has given, aware and in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return datetime.fromisoformat(value + "+00:00")


def text_of(at: datetime) -> str:
    """Return an aware time as SQLite has it: in UTC, with microseconds and without the zone."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return f"{to_the_second(utc, ' ')}.{utc.microsecond:06}"


def _itself(value: Any) -> Any:
    return value


def _compile(element: ClauseElement, dialect: Dialect) -> tuple[str, Sequence[str] | None, Mapping[str, Any]]:
    """Return the statement's text, its parameters in their order where that counts, and the constants' values."""
    compiled = element.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 -- no DDL comes here
    constants = {}
    for bound, name in compiled.bind_names.items():
        if bound.required:
            continue
        process = bound.type.dialect_impl(dialect).bind_processor(dialect)
        value = bound.effective_value
        constants[name] = value if process is None else process(value)
    return str(compiled), compiled.positiontup if compiled.positional else None, constants
