"""Rows in every table, made from nothing but the tables: each type's ordinary, empty and extreme values in turn."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Enum,
    Integer,
    LargeBinary,
    String,
    Table,
    Uuid,
    insert,
    select,
)
from sqlalchemy.types import TypeDecorator

from api.core.db import Base
from api.core.transfer import plain

#: Rows of each table.
ROWS = 7
_TIMES = [
    datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 30, tzinfo=UTC),  # twice that day by the clocks of middle Europe
]
_JSON: list[Any] = [
    {"order": 7, "é": ["漢字", None, True, 1.5, -0.0, 1e22, 10**18], "b": {"a": {}, "": ""}},
    {},
    ["a@example.org", "\u2028\U0001f4ec\x7f"],
    [],
]


def fill(engine: Engine) -> None:
    """Add rows to every table."""
    made: dict[Column[Any], list[Any]] = {}
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            rows = [{column.key: _value(column, number, made) for column in table.columns} for number in range(ROWS)]
            for column in table.columns:
                made[column] = [row[column.key] for row in rows]
            connection.execute(insert(table), rows)


def held(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Return what every table holds, by the table's name; the rows in the order of their keys."""
    with engine.connect() as connection:
        return {table.name: _rows(connection, table) for table in Base.metadata.sorted_tables}


def _rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    found = connection.execute(select(*table.columns).order_by(*table.primary_key.columns)).mappings()
    return [{name: plain(value) for name, value in row.items()} for row in found]


def _value(column: Column[Any], number: int, made: dict[Column[Any], list[Any]]) -> Any:
    if column.nullable and number % 3 == 2:
        return None
    for key in column.foreign_keys:
        return made[key.column][number]
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    return _of(kind, column, number)


def _of(kind: Any, column: Column[Any], number: int) -> Any:
    if isinstance(kind, Enum):
        return kind.python_type(kind.enums[number % len(kind.enums)]) if kind.enum_class else kind.enums[0]
    if isinstance(kind, Uuid):
        return UUID(int=(number + 1) << 80 | hash_of(column))
    if isinstance(kind, JSON):
        return _JSON[number % len(_JSON)]
    if isinstance(kind, DateTime):
        return _TIMES[number % len(_TIMES)] - timedelta(microseconds=number)
    return _scalar(kind, column, number)


def _scalar(kind: Any, column: Column[Any], number: int) -> Any:
    if isinstance(kind, Boolean):
        return number % 2 == 0
    if isinstance(kind, Integer):
        return (number + 1) * 10
    if isinstance(kind, LargeBinary):
        return bytes(range(256)) * number + b"%d" % number
    assert isinstance(kind, String), f"{column} is of a type that has no values here"
    # Of the greatest length, so that one that counts octets would not take it.
    length = kind.length or 3000
    return f"{number}{'é漢'[number % 2] * length}"[:length]


def hash_of(column: Column[Any]) -> int:
    """Return a number by which the ids of one column are told from those of others."""
    return sum(ord(char) << (index % 8) for index, char in enumerate(str(column)))
