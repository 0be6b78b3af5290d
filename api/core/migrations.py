"""The schema's version: brought up to date by whoever starts first, and refused where it does not fit this code."""

import contextlib
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from api.core import postgresql, tables
from api.core.db import db
from api.core.errors import Unavailable
from api.core.road import Turn

if TYPE_CHECKING:
    from alembic.config import Config

#: Seconds that a process waits for another one that is changing the same database.
PATIENCE_SECONDS = 60.0


class SchemaError(Exception):
    """A database that cannot be used as it is: one sentence, which names the database."""


class Standing(StrEnum):
    """How a database's schema stands to the one that this code needs."""

    EMPTY = "empty"
    CURRENT = "current"
    #: It can be upgraded.
    BEHIND = "behind"
    #: A newer version of this code has made it.
    AHEAD = "ahead"
    #: Its tables come from somewhere else.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class State:
    """A database's revision (None: it has none), the newest that this code knows, and what follows from them."""

    standing: Standing
    current: str | None
    head: str


def configure(app: Flask, folder: Path) -> None:
    """Tell Alembic, and the `flask db` commands, which app and which folder of revisions it works on."""
    app.extensions["postroom.migrations"] = folder
    app.extensions["migrate"] = _Later(app, folder)


def upgrade() -> None:
    """Bring the app's database to the newest schema, and make it where there is none.

    Waits for another process that is doing the same. Raises SchemaError, and then nothing was changed.
    """
    _prepare_folder(db.engine)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _is_current() and ((is_empty := _looks_empty()) or _needs_upgrade()):
        turn: Turn = current_app.extensions["postroom.turn"]
        try:
            with turn.taken(), _refusing(), transaction() as connection:
                (_make if is_empty else _upgrade)(connection)
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise SchemaError(f"The database {name()} cannot be upgraded: {error.detail}") from None


def downgrade(revision: str) -> None:
    """Take the app's database back to an older schema, `base` for none. Raises SchemaError, and nothing is changed."""
    from alembic import command  # noqa: PLC0415 -- a start that has nothing to upgrade does without
    from alembic.util import CommandError  # noqa: PLC0415

    turn: Turn = current_app.extensions["postroom.turn"]
    try:
        with turn.taken(), _refusing(), transaction() as connection:
            command.downgrade(_config(connection), revision)
    except Unavailable as error:
        raise SchemaError(f"The database {name()} cannot be downgraded: {error.detail}") from None
    except CommandError as error:
        raise SchemaError(f"The database {name()} cannot be taken back to {revision}: {error}.") from None


def check() -> None:
    """Raise SchemaError unless the app's database has the newest schema and just the tables that belong to it."""
    from alembic import command  # noqa: PLC0415 -- as above
    from alembic.util import CommandError  # noqa: PLC0415

    if _needs_upgrade():
        raise SchemaError(f"The database {name()} is not at the newest schema: run `postroom db upgrade`.")
    try:
        with _refusing(), db.engine.connect() as connection:
            config = _config(connection)
            config.stdout = io.StringIO()
            command.check(config)
    except CommandError as error:
        raise SchemaError(f"The tables of {name()} are not those of its schema: {error}.") from None


def state() -> State:
    """Return how the app's database stands. Raises SchemaError where that cannot be told."""
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 -- as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    script = ScriptDirectory.from_config(_config())
    head = script.get_current_head() or ""
    with _refusing(), db.engine.connect() as connection:
        # In this order: whoever makes the tables meanwhile commits them together with their revision.
        is_taken = tables.is_taken(connection)
        current = MigrationContext.configure(connection).get_current_revision()
        if current is None:
            return State(Standing.UNKNOWN if is_taken else Standing.EMPTY, None, head)
    if current == head:
        return State(Standing.CURRENT, current, head)
    known = {revision.revision for revision in script.walk_revisions()}
    if current in known:
        return State(Standing.BEHIND, current, head)
    # Revisions are numbered, so that a newer one can be told from one that was never ours.
    newer = current.isdecimal() and head.isdecimal() and int(current) > int(head)
    return State(Standing.AHEAD if newer else Standing.UNKNOWN, current, head)


@contextlib.contextmanager
def transaction() -> Iterator[Connection]:
    """Open the one transaction that all steps of an upgrade share, as no other process can meanwhile."""
    with db.engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            # Outside the transaction, where alone they work. With foreign keys on, a table that is made anew in
            # another shape would take the rows that refer to it along.
            _pragmas(connection, foreign_keys="OFF", busy_timeout=int(PATIENCE_SECONDS * 1000))
        options = {"postroom_write": True, "postroom_durable": True}
        writing = connection.execution_options(**options, **({} if sqlite else {"isolation_level": "READ COMMITTED"}))
        try:
            with writing.begin():
                if not sqlite:
                    postgresql.take_schema_lock(connection, seconds=PATIENCE_SECONDS)
                yield writing
        finally:
            # Its pragmas must not come back from the pool.
            connection.invalidate()


def name() -> str:
    """Return what the app's database is called in a sentence: its file, or its URL without the password."""
    url = db.engine.url
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.render_as_string(hide_password=True)


def _needs_upgrade() -> bool:
    found = state()
    if found.standing is Standing.AHEAD:
        raise SchemaError(
            f"The database {name()} was written by a newer version of Postroom"
            f" (its schema is {found.current}, this version knows {found.head})."
        )
    if found.standing is Standing.UNKNOWN:
        seen = f"schema {found.current}" if found.current else "tables without a schema version"
        raise SchemaError(f"The database {name()} is not one that Postroom made: it holds {seen}.")
    return found.standing is not Standing.CURRENT


def _is_current() -> bool:
    with _refusing(), db.engine.connect() as connection:
        return tables.is_at(connection, _head())


def _head() -> str:
    """Return the newest revision, by the files' names alone."""
    folder: Path = current_app.extensions["postroom.migrations"]
    return max(path.stem for path in (folder / "versions").glob("*.py")).partition("_")[0]


def _looks_empty() -> bool:
    with _refusing(), db.engine.connect() as connection:
        return tables.is_empty(connection)


def _make(connection: Connection) -> None:
    if tables.is_empty(connection):  # another process may have made them before it was this one's turn
        tables.make(connection, _head())


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 -- as above

    command.upgrade(_config(connection), "head")


def _config(connection: Connection | None = None) -> "Config":
    """Return Alembic's configuration, for work on this connection."""
    config: Config = current_app.extensions["migrate"].migrate.get_config()
    if connection is not None:
        config.attributes["connection"] = connection
    return config


class _Later:
    """Stands in Flask-Migrate's place until somebody asks for it: importing Alembic takes a good part of a start."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self._app = app
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        from flask_migrate import Migrate  # noqa: PLC0415 -- see above

        Migrate(self._app, db, directory=str(self._folder))  # takes this one's place
        return getattr(self._app.extensions["migrate"], name)


def _pragmas(connection: Connection, **values: str | int) -> None:
    for pragma, value in values.items():
        connection.exec_driver_sql(f"PRAGMA {pragma}={value}")
    connection.commit()


def _prepare_folder(engine: Engine) -> None:
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return
    path = Path(engine.url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite needs to make files beside the database; as does the turn to write, whose file this is.
        Path(f"{path}.writer").open("ab").close()
    except OSError as error:
        raise SchemaError(f"The directory {path.parent} cannot be written: {error.strerror}.") from None
    # Asked, not tried: opening and closing the file would drop the locks that this process has on it.
    if path.exists() and not os.access(path, os.W_OK):
        raise SchemaError(f"The database {path} cannot be written: no permission.")


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn what the database says into one sentence that names it."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        raise SchemaError(f"The database {name()} cannot be used: {said[0].rstrip('.')}.") from error
