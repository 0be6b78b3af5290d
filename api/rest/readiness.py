"""Whether the service can do its work: store what it accepts, and hand it to a relay."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.core import clock, dispatchers, transports
from api.core.db import db, transact
from api.core.errors import Unavailable
from api.core.models import Transport
from schemas.vocabulary import TransportState

#: Anybody may ask, and asking writes: nobody can make us write more often than this.
FRESH = timedelta(seconds=1)
_LONGEST_REPLY = 200


@dataclass(frozen=True, slots=True)
class Check:
    """One part of the service, and a sentence for the operator."""

    ok: bool
    detail: str


class Readiness:
    """The checks, and what they said a moment ago."""

    def __init__(self, dispatch: str) -> None:
        self._dispatch = dispatch
        self._checks: dict[str, Check] = {}
        self._at: datetime | None = None

    def checks(self) -> dict[str, Check]:
        """Return each part's check by its name."""
        now = clock.utcnow()
        if self._at is None or not timedelta() <= now - self._at < FRESH:
            self._checks = {"database": _database(), "dispatcher": self._dispatcher(), "relay": _relay()}
            self._at = now
        return self._checks

    def _dispatcher(self) -> Check:
        own = current_app.extensions.get("postroom.dispatcher")
        if self._dispatch == "thread" and own is not None:
            if own.trouble is not None or not own.alive:
                return Check(False, own.trouble or "The dispatcher of this process does not run.")
            return Check(True, "The dispatcher of this process runs.")
        try:
            alive = dispatchers.alive(db.session())
        except SQLAlchemyError:
            return _UNTOLD
        return Check(alive > 0, f"Dispatchers that gave a sign of life lately: {alive}.")


def configure(app: Flask, dispatch: str) -> None:
    """Prepare the checks; `dispatch` is `thread`, `celery` or `none`."""
    app.extensions["postroom.readiness"] = Readiness(dispatch)


def checks() -> dict[str, dict[str, object]]:
    """Return `{"ok", "detail"}` by the part's name."""
    readiness: Readiness = current_app.extensions["postroom.readiness"]
    return {name: asdict(check) for name, check in readiness.checks().items()}


def _database() -> Check:
    try:
        transact(_write, durable=False)
    except Unavailable as error:
        return Check(False, error.detail)
    except SQLAlchemyError:
        return Check(False, "The database does not have the tables it should.")
    return Check(True, "The database can be written.")


def _write(session: Session) -> None:
    # A row goes in and out again: nothing is left of it, and yet pages are written, as a full disk notices.
    dispatchers.leave(session, dispatchers.register(session))


def _relay() -> Check:
    try:
        known = transports.every(db.session())
    except SQLAlchemyError:
        return _UNTOLD
    halted = [relay for relay in known if relay.state is not TransportState.UP]
    if not halted:
        return Check(True, "Mail goes out as far as is known.")
    is_stopped = any(relay.state is TransportState.STOPPED for relay in halted)
    return Check(not is_stopped, " ".join(map(_trouble, halted)))


def _trouble(relay: Transport) -> str:
    said = " ".join((relay.error_reply or "").split())[:_LONGEST_REPLY]
    error = " ".join(str(part) for part in (relay.error_code, said) if part)
    since = f"{relay.since:%Y-%m-%dT%H:%M:%SZ}"
    return f"The relay '{relay.name}' is {relay.state} since {since}, by what it said in {relay.error_phase}: {error}"


_UNTOLD = Check(False, "Cannot be told without the database.")
