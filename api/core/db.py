"""The database: declarative base, column types, and the one road that writing transactions take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, cast

from flask import Flask, has_app_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, DateTime, Engine, Enum, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator, TypeEngine

from api.core import extension, postgresql, rows, sqlite
from api.core.road import BUSY_SECONDS, Job, Road, Turn
from api.core.rows import Prepared, Rows

T = TypeVar("T")

#: What a forked child has of its parents.
_INHERITED: list[sqlite.Writer] = []

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


#: Reads go through `db.session` or `reading`, statement by statement (autocommit); writes only through `transact`.
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
            sqlite.watch(db.engine)
        else:
            postgresql.watch(db.engine)
        _open(app, db.engine)


def close(app: Flask) -> None:
    """Let go of the connections and the lock files; whoever watches the tables is seen off first."""
    rest: Callable[[], None] | None = app.extensions.get("postroom.rest")
    if rest is not None:
        rest()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
        app.extensions["postroom.turn"].close()
        app.extensions["postroom.writer"].close()


def reopen(app: Flask) -> None:
    """Start afresh in a forked child: neither a connection nor a held lock may be shared with the parent."""
    with app.app_context():
        db.engine.dispose(close=False)
        # Closed here, a connection might tidy up what the parent still writes to.
        _INHERITED.append(app.extensions["postroom.writer"])
        _open(app, db.engine)


def _open(app: Flask, engine: Engine) -> None:
    app.extensions["postroom.engine"] = engine
    path = engine.url.database
    on_disk = engine.dialect.name == "sqlite" and path and path != ":memory:"
    turn = Turn(Path(f"{path}.writer") if on_disk else None, patience=BUSY_SECONDS)
    app.extensions["postroom.turn"] = turn
    app.extensions["postroom.writer"] = writer = sqlite.Writer(engine)
    app.extensions["postroom.road"] = Road(turn, writer.carry)


def engine_options(url: str, *, connections: int = 20) -> dict[str, Any]:
    """Return the SQLAlchemy engine options for a URL; `connections` to a server are what a process may have."""
    if url.startswith("sqlite"):
        return sqlite.engine_options()
    return postgresql.engine_options(url, connections=connections)


def transact(work: Callable[[Session], T], *, durable: bool = True) -> T:
    """Run `work` in a writing transaction, commit, and return what it returned.

    Nothing below the use-cases commits; they all come through here. With `durable` the commit has reached the disk
    when this returns; without, a power loss (not a crash of the process) may undo it, which is right where losing the
    write only means doing it again. On PostgreSQL all are durable. On SQLite one transaction of the process follows
    the other, and durable works that wait at the same time share one, each in a savepoint of its own. Afterwards
    whoever watches the tables in this process is nudged. Raises Unavailable when the database cannot be written, and
    whatever `work` raises, with nothing of it stored.
    """
    engine: Engine = extension.of("postroom.engine")
    _give_back()
    if engine.dialect.name == "sqlite":
        result = cast(T, _travel(work, durable=durable))
    else:
        result = postgresql.transact(engine, work)
    _tell_watchers()
    return result


def add(new: Rows) -> None:
    """Insert rows as a durable transaction, like `transact`; on SQLite those that wait together are one statement."""
    engine: Engine = extension.of("postroom.engine")
    _give_back()
    if engine.dialect.name == "sqlite":
        _travel(rows.prepare(engine.dialect, new), durable=True)
    else:
        postgresql.transact(engine, lambda session: rows.insert(session.connection(), new))
    _tell_watchers()


@contextmanager
def reading() -> Iterator[Session]:
    """Give a session to read by: that of the app's context or, where there is none, one of its own for the while."""
    if has_app_context():
        yield db.session()
        return
    with Session(extension.of("postroom.engine"), expire_on_commit=False) as session:
        yield session


def _give_back() -> None:
    """Let go of the connection that was read by: who holds one while asking for another waits for its own kind."""
    if not has_app_context():
        return  # whoever reads without one gives it back at once
    if db.session.registry.has() and db.session().in_transaction():  # nobody who has read nothing needs a session
        db.session.commit()


def _tell_watchers() -> None:
    written: Callable[[], None] | None = extension.find("postroom.written")
    if written is not None:
        written()


def _travel(work: Callable[[Session], Any] | Prepared, *, durable: bool) -> Any:
    road: Road = extension.of("postroom.road")
    return road.travel(Job(work, shares=durable, patience=BUSY_SECONDS))


def is_ready(engine: Engine) -> bool:
    """Tell whether the tables are there."""
    with engine.connect() as connection:
        return engine.dialect.has_table(connection, "deliveries")
