"""The database: declarative base, column types, and the one road that writing transactions take."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, Connection, DateTime, Engine, Enum, MetaData, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator, TypeEngine

from api.core import errors, rows
from api.core.road import BUSY_SECONDS, Job, Road, Turn
from api.core.rows import Prepared, Rows

T = TypeVar("T")

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Plain declarative base; `db` lends engine, reading session and teardown."""

    metadata = MetaData(naming_convention=_NAMES)


#: Reads go through `db.session`, statement by statement (autocommit); writes only through `transact`.
db = SQLAlchemy(metadata=Base.metadata, session_options={"expire_on_commit": False})

JSONValue: TypeEngine[Any] = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def word(vocabulary: type[StrEnum]) -> Enum:
    """Return the column type of a closed vocabulary: its words as text, read back as its members."""
    return Enum(
        vocabulary,
        native_enum=False,  # a new word must not need a new type in the database
        create_constraint=False,
        length=16,
        values_callable=lambda words: [member.value for member in words],
    )


class Instant(TypeDecorator[datetime]):
    """An aware UTC time. SQLite keeps no zone, so it is taken off on the way in and put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; strip the zone for SQLite."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def configure(app: Flask) -> None:
    """Bind `db` to the app's database, with the pragmas and the isolation that `transact` relies on."""
    db.init_app(app)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "connect", _on_sqlite_connect)
            event.listen(db.engine, "begin", _on_sqlite_begin)
        _open(app, db.engine)


def close(app: Flask) -> None:
    """Let go of the connections and the lock files."""
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
        app.extensions["postroom.turn"].close()


def reopen(app: Flask) -> None:
    """Start afresh in a forked child: neither a connection nor a held lock may be shared with the parent."""
    with app.app_context():
        db.engine.dispose(close=False)
        _open(app, db.engine)


def _open(app: Flask, engine: Engine) -> None:
    path = engine.url.database
    on_disk = engine.dialect.name == "sqlite" and path and path != ":memory:"
    turn = Turn(Path(f"{path}.writer") if on_disk else None, patience=BUSY_SECONDS)
    app.extensions["postroom.turn"] = turn
    app.extensions["postroom.road"] = Road(turn, partial(_carry, engine))


def engine_options(url: str) -> dict[str, object]:
    """Return the SQLAlchemy engine options for a database URL."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}, "pool_size": 20}
    # Reads need no transaction of their own; `transact` asks for one.
    return {"isolation_level": "AUTOCOMMIT", "pool_pre_ping": True, "pool_size": 20}


def transact(work: Callable[[Session], T], *, durable: bool = True) -> T:
    """Run `work` in a writing transaction, commit, and return what it returned.

    Nothing below the use-cases commits; they all come through here. With `durable` the commit has reached the disk
    when this returns; without, a power loss (not a crash of the process) may undo it, which is right where losing the
    write only means doing it again. On SQLite one transaction of the process follows the other, and durable works
    that wait at the same time share one, each in a savepoint of its own. Afterwards whoever watches the tables in this
    process is nudged. Raises Unavailable when the database cannot be written, and whatever `work` raises, with nothing
    of it stored.
    """
    engine = db.engine
    if engine.dialect.name == "sqlite":
        result = cast(T, _travel(work, durable=durable))
    else:
        result = _committed(engine, work, durable=durable)
    _tell_watchers()
    return result


def add(new: Rows) -> None:
    """Insert rows as a durable transaction, like `transact`; on SQLite those that wait together are one statement."""
    engine = db.engine
    if engine.dialect.name == "sqlite":
        _travel(rows.prepare(engine.dialect, new), durable=True)
    else:
        _committed(engine, lambda session: rows.insert(session.connection(), new), durable=True)
    _tell_watchers()


def _committed(engine: Engine, work: Callable[[Session], T], *, durable: bool) -> T:
    """Do the work in a transaction of its own, on a connection of its own: others may do the same meanwhile."""
    try:
        with _begun(engine, durable=durable, isolation_level="READ COMMITTED") as connection:
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
            return _worked(connection, work)
    except DatabaseError as error:
        raise _told(error) from error


def _tell_watchers() -> None:
    written: Callable[[], None] | None = current_app.extensions.get("postroom.written")
    if written is not None:
        written()


def _travel(work: Callable[[Session], Any] | Prepared, *, durable: bool) -> Any:
    road: Road = current_app.extensions["postroom.road"]
    return road.travel(Job(work, shares=durable, patience=BUSY_SECONDS))


def _carry(engine: Engine, jobs: Sequence[Job]) -> None:
    """Do the jobs in one transaction. Who fails undoes nobody else's; if the commit fails, all of them do."""
    prepared = [job.work for job in jobs]
    if not any(map(callable, prepared)) and _is_written(engine, rows.merged(prepared)):
        for job in jobs:
            job.end()
        return
    try:
        with _begun(engine, durable=jobs[0].shares) as connection:
            if len(jobs) == 1:
                # Nobody to be kept apart from: its failure undoes the transaction.
                jobs[0].end(_done(connection, jobs[0].work))
            else:
                _carry_together(connection, jobs)
    except DatabaseError as error:
        for job in jobs:
            if job.error is None:
                job.end(error=_told(error))


def _is_written(engine: Engine, prepared: Prepared) -> bool:
    """Insert rows durably by the driver alone, as nearly all are; False, with nothing stored, if anything is wrong."""
    try:
        connection = engine.raw_connection()
    except (DatabaseError, sqlite3.Error):
        return False
    try:
        cursor = connection.cursor()
        _begin(cursor.execute, durable=True)
        rows.write(cursor.execute, prepared)
        connection.commit()
        return True
    except sqlite3.Error:
        with suppress(sqlite3.Error):
            connection.rollback()
        return False
    finally:
        connection.close()


def _carry_together(connection: Connection, jobs: Sequence[Job]) -> None:
    new = [job for job in jobs if not callable(job.work)]
    rest: Sequence[Job] = jobs
    # All new rows in as few statements as for one; if a single one is refused, each on its own tells whose it is.
    if new and _succeeds(
        connection, new, lambda: rows.write(connection.exec_driver_sql, rows.merged(job.work for job in new))
    ):
        rest = [job for job in jobs if callable(job.work)]
    for job in rest:
        _succeeds(connection, [job], partial(job.context.run, _done, connection, job.work))


def _succeeds(connection: Connection, jobs: Sequence[Job], work: Callable[[], Any]) -> bool:
    """Do the work of some jobs in a savepoint, and note what came of it."""
    savepoint = connection.begin_nested()
    try:
        result = work()
        savepoint.commit()
    except Exception as error:  # noqa: BLE001 -- it is handed to the caller whose work raised it
        savepoint.rollback()
        for job in jobs:
            job.end(error=_told(error) if isinstance(error, DatabaseError) else error)
        return False
    for job in jobs:
        job.end(result)
    return True


def _done(connection: Connection, work: Callable[[Session], Any] | Prepared) -> Any:
    if callable(work):
        return _worked(connection, work)
    return rows.write(connection.exec_driver_sql, work)


def _worked(connection: Connection, work: Callable[[Session], T]) -> T:
    with Session(connection, expire_on_commit=False, join_transaction_mode="rollback_only") as session:
        result = work(session)
        session.flush()
        return result


@contextmanager
def _begun(engine: Engine, *, durable: bool, **options: Any) -> Iterator[Connection]:
    with engine.connect() as connection:
        writing = connection.execution_options(postroom_durable=durable, postroom_write=True, **options)
        with writing.begin():
            yield writing


def _told(error: DatabaseError) -> Exception:
    """Return what a caller is told: a broken rule of the tables as it is, all else as a database in trouble."""
    if isinstance(error, IntegrityError | ProgrammingError | DataError):
        return error
    trouble = errors.Unavailable("The database cannot be written just now.")
    trouble.__cause__ = error
    return trouble


def _on_sqlite_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions on its own
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _on_sqlite_begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("postroom_write"):
        return
    _begin(connection.exec_driver_sql, durable=options["postroom_durable"])


def _begin(execute: Callable[[str], object], *, durable: bool) -> None:
    # FULL syncs the log at each commit, NORMAL only at checkpoints; it cannot change inside a transaction.
    execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    # A read that turns into a write fails at once whatever the busy timeout: take the write lock first.
    execute("BEGIN IMMEDIATE")


def is_ready(engine: Engine) -> bool:
    """Tell whether the tables are there."""
    with engine.connect() as connection:
        return engine.dialect.has_table(connection, "deliveries")
