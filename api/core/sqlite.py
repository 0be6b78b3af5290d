"""SQLite's side of the database: its pragmas, and how the works of one process share a transaction."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from api.core import errors, rows
from api.core.road import BUSY_SECONDS, Job
from api.core.rows import Prepared

T = TypeVar("T")

#: What may stand in a file that is nobody's yet, and what stands in each one of ours.
_OF_AN_EMPTY_FILE = frozenset({"alembic_version", "sqlite_sequence"})
_OURS = frozenset({"alembic_version", "notifications", "deliveries", "api_keys"})
#: A read that turns into a write fails at once whatever the busy timeout: take the write lock first.
_BEGIN = "BEGIN IMMEDIATE"
#: FULL syncs the log at each commit, NORMAL only at checkpoints; it cannot change inside a transaction.
_SYNCED, _LAZY = "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"

# The driver looks for a way to adapt each null and each truth value, and would end at an exception that it drops again.
sqlite3.register_adapter(type(None), lambda null: null)
sqlite3.register_adapter(bool, int)


def engine_options() -> dict[str, Any]:
    """Return the SQLAlchemy engine options."""
    return {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}, "pool_size": 20}


def watch(engine: Engine) -> None:
    """Give each connection its pragmas, and each transaction the isolation and the durability that it asks for."""
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


class Writer:
    """Carries the jobs of a process, with a connection of its own for the rows that are all that most of them want.

    Not safe for threads: whoever calls it has the turn.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: sqlite3.Connection | None = None

    def carry(self, jobs: Sequence[Job]) -> None:
        """Do the jobs in one transaction. Who fails undoes nobody else's; if the commit fails, all of them do."""
        prepared = [job.work for job in jobs]
        if not any(map(callable, prepared)) and self._is_written(rows.merged(prepared)):
            for job in jobs:
                job.end()
            return
        try:
            with _begun(self._engine, durable=jobs[0].shares) as connection:
                if len(jobs) == 1:
                    # Nobody to be kept apart from: its failure undoes the transaction.
                    jobs[0].end(_done(connection, jobs[0].work))
                else:
                    _carry_together(connection, jobs)
        except DatabaseError as error:
            for job in jobs:
                if job.error is None:
                    job.end(error=_told(error))

    def close(self) -> None:
        """Let go of the connection; the next rows get a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _is_written(self, prepared: Prepared) -> bool:
        """Insert rows durably by the driver alone; False, with nothing stored, if anything is wrong."""
        try:
            if self._connection is None:
                self._connection = _own(self._engine)
            # It syncs the log at every commit: nobody else ever has it.
            self._connection.execute(_BEGIN)
            rows.write(self._connection.execute, prepared)
            self._connection.commit()
        except (DatabaseError, sqlite3.Error):
            self.close()  # which undoes what was begun; the file may be another one by now
            return False
        except BaseException:
            self.close()  # a value that the driver cannot take: left open, the transaction would lock out everybody
            raise
        return True


def _own(engine: Engine) -> sqlite3.Connection:
    """Return a connection that the pool knows nothing of."""
    fairy = engine.raw_connection()
    fairy.detach()
    connection = cast(sqlite3.Connection, fairy.dbapi_connection)
    connection.execute(_SYNCED)  # whoever had it before may have left it lazy
    return connection


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
        if savepoint.is_active:  # a session whose flush failed has rolled it back itself
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


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions on its own
    _write_ahead(connection)
    connection.execute(_SYNCED)
    connection.execute("PRAGMA foreign_keys=ON")


def _write_ahead(connection: Any) -> None:
    """Have the log written ahead. The file's header says so for good: somebody else's file is left as it is."""
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        return
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    # Whether it is of a version that this one can use is seen later, and changes nothing about whose it is.
    if tables <= _OF_AN_EMPTY_FILE or tables >= _OURS:
        connection.execute("PRAGMA journal_mode=WAL")


def _on_begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("postroom_write"):
        return
    _begin(connection.exec_driver_sql, durable=options["postroom_durable"])


def _begin(execute: Callable[[str], object], *, durable: bool) -> None:
    execute(_SYNCED if durable else _LAZY)
    execute(_BEGIN)
