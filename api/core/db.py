"""The database: declarative base, column types, and the one road that writing transactions take."""

import contextlib
import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, TypeVar

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, Connection, DateTime, Engine, Enum, MetaData, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator, TypeEngine

from api.core import errors, postgresql

T = TypeVar("T")

#: Seconds a writer waits for its turn before the caller is told to come back later.
BUSY_SECONDS = 5.0

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


class Turn:
    """Whose turn it is to write: one thread per process, and on SQLite one process per file.

    SQLite's own wait for a lock is a sleep that grows to 100 ms and is unfair; queueing in front of it
    keeps two writing processes from a p99 near a second. It also keeps commit and checkpoint of two
    connections apart, which versions before 3.51.3 need (the WAL-reset bug).
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._thread = threading.Lock()
        self._file: IO[bytes] | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn. Raises Unavailable when it does not come within `BUSY_SECONDS`."""
        deadline = time.monotonic() + BUSY_SECONDS
        if not self._thread.acquire(timeout=BUSY_SECONDS):
            raise errors.Unavailable("The database is busy.")
        try:
            self._lock_file(deadline)
            try:
                yield
            finally:
                if self._file is not None:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._thread.release()

    def close(self) -> None:
        """Let go of the lock file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lock_file(self, deadline: float) -> None:
        if self._path is None:
            return
        if self._file is None:
            try:
                self._file = self._path.open("ab")
            except OSError as error:
                raise errors.Unavailable("The database directory cannot be written.") from error
        pause = 0.0005
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                # A blocking flock cannot time out, and its holder may be a stopped process.
                if time.monotonic() > deadline:
                    raise errors.Unavailable("The database is busy.") from None
                time.sleep(pause)
                pause = min(pause * 1.5, 0.004)


def configure(app: Flask) -> None:
    """Bind `db` to the app's database, with the pragmas and the isolation that `transact` relies on."""
    db.init_app(app)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "connect", _on_sqlite_connect)
            event.listen(db.engine, "begin", _on_sqlite_begin)
        else:
            postgresql.watch(db.engine)
        app.extensions["postroom.turn"] = _turn(db.engine)


def close(app: Flask) -> None:
    """Let go of the connections and the lock file."""
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
        app.extensions["postroom.turn"].close()


def reopen(app: Flask) -> None:
    """Start afresh in a forked child: neither a connection nor a held lock may be shared with the parent."""
    with app.app_context():
        db.engine.dispose(close=False)
        app.extensions["postroom.turn"] = _turn(db.engine)


def _turn(engine: Engine) -> Turn:
    path = engine.url.database
    on_disk = engine.dialect.name == "sqlite" and path and path != ":memory:"
    return Turn(Path(f"{path}.writer") if on_disk else None)


def engine_options(url: str, *, connections: int = 20) -> dict[str, Any]:
    """Return the SQLAlchemy engine options for a URL; `connections` to a server are what a process may have."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}, "pool_size": 20}
    return postgresql.engine_options(url, connections=connections)


def transact(work: Callable[[Session], T], *, durable: bool = True) -> T:
    """Run `work` in one writing transaction, commit, and return what it returned.

    Nothing below the use-cases commits; they all come through here, on SQLite one after the other. With `durable` the
    commit has reached the disk when this returns; without, a power loss (not a crash of the process) may undo
    it, which is right where losing the write only means doing it again. Afterwards whoever watches the tables in this
    process is nudged. Raises Unavailable when the database cannot be written, and whatever `work` raises, with nothing
    stored.
    """
    engine = db.engine
    if engine.dialect.name == "sqlite":
        result = _transact(engine, work, durable=durable)
    else:
        result = postgresql.transact(engine, work, durable=durable)
    written: Callable[[], None] | None = current_app.extensions.get("postroom.written")
    if written is not None:
        written()
    return result


def _transact(engine: Engine, work: Callable[[Session], T], *, durable: bool) -> T:
    options: dict[str, Any] = {"postroom_durable": durable, "postroom_write": True}
    turn: Turn = current_app.extensions["postroom.turn"]
    try:
        with turn.taken(), Session(engine, expire_on_commit=False) as session:
            session.connection(execution_options=options)
            result = work(session)
            session.commit()
            return result
    except (IntegrityError, ProgrammingError, DataError):
        raise
    except (OperationalError, DatabaseError) as error:
        raise errors.Unavailable("The database cannot be written just now.") from error


def _on_sqlite_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions on its own
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _on_sqlite_begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("postroom_write"):
        return
    # FULL syncs the log at each commit, NORMAL only at checkpoints; it cannot change inside a transaction.
    connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options['postroom_durable'] else 'NORMAL'}")
    # A read that turns into a write fails at once whatever the busy timeout: take the write lock first.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def is_ready(engine: Engine) -> bool:
    """Tell whether the tables are there."""
    with engine.connect() as connection:
        return engine.dialect.has_table(connection, "deliveries")
