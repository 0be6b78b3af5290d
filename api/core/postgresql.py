"""PostgreSQL's side of the database: how it is connected to, how a dead connection is known, what passes by itself."""

import math
import random
import select
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, DisconnectionError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from api.core import errors

T = TypeVar("T")

#: Seconds that one waits for a connection, from the server or from the pool, and for a lock that somebody holds.
PATIENCE_SECONDS = 5.0
#: Seconds that one statement may take, and a transaction in which nothing happens.
STATEMENT_SECONDS = 30
#: How often a transaction is tried that the server ends because it collided with another one.
TRIES = 4
#: Any number will do, as long as nobody else on the server locks by it.
ADVISORY_LOCK = 0x706F7374

#: serialization_failure and deadlock_detected: the same again may well succeed.
_COLLISIONS = frozenset({"40001", "40P01"})
#: insufficient_privilege, undefined_column, undefined_table, invalid_schema_name: somebody works on the tables, or the
#: role lacks a right. Trying again helps once the operator has seen to it.
_UNFIT = frozenset({"42501", "42703", "42P01", "3F000"})
#: What each connection is given. Times are read back in UTC: in another zone the last day of year 9999 is in the next
#: year, which Python does not know. A 202 means "on disk", whatever the server's own setting is.
_SETTINGS = {
    "TimeZone": "UTC",
    "synchronous_commit": "on",
    "statement_timeout": STATEMENT_SECONDS * 1000,
    "idle_in_transaction_session_timeout": STATEMENT_SECONDS * 1000,
}


def engine_options(url: str, *, connections: int) -> dict[str, Any]:
    """Return the SQLAlchemy engine options; `connections` is how many one process may have open."""
    given = make_url(url).query.get("options", ())
    options = [f"-c {name}={value}" for name, value in _SETTINGS.items()]
    options.append(f"-c lock_timeout={int(PATIENCE_SECONDS * 1000)}")
    options += [given] if isinstance(given, str) else given  # the operator has the last word
    return {
        # Reads need no transaction of their own; `transact` asks for one.
        "isolation_level": "AUTOCOMMIT",
        # Errors are logged; addresses and contents have no place there.
        "hide_parameters": True,
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": PATIENCE_SECONDS,
        # The connection used last: who is seldom busy needs few, and a server or proxy may end the others.
        "pool_use_lifo": True,
        "connect_args": {
            "options": " ".join(options),
            "application_name": "postroom",
            "connect_timeout": max(2, math.ceil(PATIENCE_SECONDS)),
            # A server whose machine is gone says nothing: it is noticed by silence.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": STATEMENT_SECONDS * 1000,
        },
    }


def watch(engine: Engine) -> None:
    """Have each connection looked at as it leaves the pool, without asking the server."""
    event.listen(engine, "checkout", _on_checkout)


def transact(engine: Engine, work: Callable[[Session], T]) -> T:
    """Run `work` in one writing transaction, and return what it returned; again if it collided with another one.

    Its commit is on the server's disk by then. A server dies apart from us and would take a commit of its last moments
    with it: a dispatcher that goes on would believe in claims and results that are gone.

    Raises Unavailable when the database cannot be written, and whatever `work` raises, with nothing stored.
    """
    tried = 1
    while True:
        try:
            return _once(engine, work)
        except PoolTimeout as error:
            raise errors.Unavailable("The database is busy.") from error
        except DBAPIError as error:
            if tried == TRIES or _state(error) not in _COLLISIONS:
                raise told(error) from error
        time.sleep(random.uniform(0, 0.02) * tried)  # noqa: S311 -- two that collided must not do so in step
        tried += 1


def told(error: DBAPIError) -> Exception:
    """Return what a caller is told: a broken rule of the tables as it is, all else as a database in trouble."""
    is_rule = isinstance(error, IntegrityError | ProgrammingError | DataError) and _state(error) not in _UNFIT
    return error if is_rule else errors.Unavailable("The database cannot be written just now.")


def take_schema_lock(connection: Connection, *, seconds: float) -> None:
    """Keep others from changing the schema until the transaction ends; wait so long for who does, and for its locks."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(seconds * 1000)}")
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")


def is_unfit(error: DatabaseError) -> bool:
    """Tell whether the tables are not there as they should be, or may not be used."""
    return _state(error) in _UNFIT


def _once(engine: Engine, work: Callable[[Session], T]) -> T:
    options = {"isolation_level": "READ COMMITTED", "postroom_write": True}
    with Session(engine, expire_on_commit=False) as session:
        session.connection(execution_options=options)
        result = work(session)
        session.commit()
        return result


def _state(error: DBAPIError) -> str | None:
    """Return the SQLSTATE, None where the server has not said any."""
    return getattr(error.orig, "sqlstate", None)


def _on_checkout(connection: Any, _record: object, _proxy: object) -> None:
    """Refuse a connection that the server has ended: the pool then makes a new one.

    An ended connection has bytes to be read, its last words or the end of the stream; one that waits for a statement
    has none. That costs a system call where a ping would cost a round trip. What the server rarely says unasked, as
    when it was reconfigured, costs a good connection.
    """
    if connection.closed:
        raise DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError
