"""Rows by the million: copies of a row that was really accepted, or sent, put in by the fastest road there is."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from api.core import notifications
from api.core.db import transact
from benchmarks.letters import Letter
from benchmarks.outbox import draft, opened
from schemas.vocabulary import Mode

_CHUNK = 20_000
_TIME = "%Y-%m-%d %H:%M:%S.%f"
#: How long the oldest of them has been due.
_WAITED = timedelta(hours=1)
#: Due times are that far apart.
_APART = timedelta(microseconds=500)


@dataclass(frozen=True, slots=True)
class Model:
    """A table's row that is to be copied, and the table's name."""

    table: str
    row: dict[str, Any]


def seed(database: Path, count: int, *, like: Letter, finished: bool) -> None:
    """Add so many notifications of one recipient each, due or sent, in the order of their ids."""
    # What is copied is made by the code that accepts, so that a column added later is not forgotten here.
    with opened(database):
        made = draft(like)
        transact(partial(notifications.store, accepted=[made], mode=Mode.LIVE))
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        models = [
            _model(connection, "notifications", "id", made.id.hex),
            _model(connection, "contents", "notification_id", made.id.hex),
            _model(connection, "deliveries", "notification_id", made.id.hex),
        ]
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("DELETE FROM notifications WHERE id = ?", [made.id.hex])
        for model in [*models, *([_attempt(models[2].row)] if finished else [])]:
            _copy(connection, model, count, finished=finished)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _model(connection: sqlite3.Connection, table: str, column: str, value: str) -> Model:
    found = connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", [value]).fetchone()  # noqa: S608
    return Model(table, dict(found))


def _attempt(delivery: dict[str, Any]) -> Model:
    row = {
        "delivery_id": delivery["id"],
        "at": delivery["due_at"],
        "transport": delivery["transport"],
        "outcome": "sent",
        "phase": "dot",
        "code": 250,
        "enhanced_code": "2.0.0",
        "reply": "Ok: queued as 1234567890",
        "duration_ms": 3,
    }
    return Model("attempts", row)


def _copy(connection: sqlite3.Connection, model: Model, count: int, *, finished: bool) -> None:
    columns = ", ".join(model.row)
    places = ", ".join("?" for _ in model.row)
    rows = _rows(model, count, finished=finished)
    while chunk := list(islice(rows, _CHUNK)):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"INSERT INTO {model.table} ({columns}) VALUES ({places})", chunk)  # noqa: S608
        connection.execute("COMMIT")


def _rows(model: Model, count: int, *, finished: bool) -> Iterator[tuple[Any, ...]]:
    """Give the copies' values: ids count upwards from the model's, so they are in order and of no other row."""
    ids = [name for name in ("id", "notification_id", "delivery_id") if name in model.row]
    firsts = {name: int(model.row[name], 16) for name in ids}
    row = dict(model.row)
    if finished and model.table == "deliveries":
        row |= {"status": "sent", "finished_at": row["due_at"], "attempts": 1}
    due = datetime.strptime(row["due_at"], _TIME) - _WAITED if "due_at" in row else None  # noqa: DTZ007 -- as SQLite has it
    for number in range(count):
        for name, first in firsts.items():
            row[name] = f"{first + number:032x}"
        if due is not None:
            row["due_at"] = (due + number * _APART).strftime(_TIME)
        yield tuple(row.values())
