"""Fixtures that all rooms share: an app on a database of its own, and verbs to act on it."""

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import func, select

from api.app import create_app
from api.config import Settings
from api.core import clock, dispatchers, keys, notifications, outbox, settling
from api.core.claim import Address, Blame, Claim, Reply, Result, Settlement
from api.core.db import Base, close, db, transact
from api.core.models import ApiKey, Delivery, Notification
from schemas.vocabulary import Mode, Outcome, Phase, Scope

# A developer's own settings must not steer the tests.
for name in [name for name in os.environ if name.startswith(("POSTROOM_", "MAIL_", "FLASKY_"))]:
    del os.environ[name]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of `app`; a test module overrides this fixture for others."""
    return Settings(
        database_url=f"sqlite:///{tmp_path}/postroom.db",
        sender="Postroom <postroom@example.org>",
        admin="Admin <admin@example.org>",
        subject_prefix="[Postroom]",
        allowed_senders=("postroom@example.org", "@example.net"),
    )


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """An app with its tables, inside its context."""
    app = create_app(settings)
    with app.app_context():
        Base.metadata.create_all(db.engine)
        yield app
    close(app)


@pytest.fixture
def key(app: Flask) -> ApiKey:
    """A live key that may do everything."""
    return keys.create(name="tests", scopes=[Scope.ADMIN])[0]


@pytest.fixture
def test_key(app: Flask) -> ApiKey:
    """A test key that may do everything."""
    return keys.create(name="tests", scopes=[Scope.ADMIN], mode=Mode.TEST)[0]


@pytest.fixture
def accept(key: ApiKey) -> Callable[..., Notification]:
    """Accept a message, to one recipient unless told otherwise."""

    def accept(**message: Any) -> Notification:
        defaults: dict[str, Any] = {"to": [Address("ann@example.org")], "subject": "Hello", "text": "Good day.\n"}
        return notifications.accept(**{"key": key, **defaults, **message})

    return accept


@pytest.fixture
def holder(app: Flask) -> UUID:
    """A registered dispatcher."""
    return transact(dispatchers.register)


@pytest.fixture
def claim(app: Flask, holder: UUID) -> Callable[..., list[Claim]]:
    """Claim what is due."""

    def claim(
        *, by: UUID = holder, limit: int = 100, transport: str = "default", lease: timedelta = timedelta(minutes=16)
    ) -> list[Claim]:
        return transact(lambda session: outbox.claim(session, holder=by, transport=transport, limit=limit, lease=lease))

    return claim


@pytest.fixture
def settle(app: Flask) -> Callable[..., bool]:
    """Settle a claim with what an attempt came to."""

    def settle(held: Claim, result: Result) -> bool:
        schedule = app.extensions["postroom.policy"].schedule
        settlement = Settlement(held, result, clock.utcnow())
        return not transact(partial(settling.settle, settlements=[settlement], schedule=schedule, rand=lambda: 0.0))

    return settle


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., datetime]:
    """Move the clock of everybody to this long from now, and keep it there."""
    start = clock.utcnow()

    def at(**later: float) -> datetime:
        moment = start + timedelta(**later)
        monkeypatch.setattr(clock, "utcnow", lambda: moment)
        return moment

    return at


@pytest.fixture
def delivery(app: Flask) -> Callable[[Notification], Delivery]:
    """Read the first delivery of a notification afresh."""

    def delivery(notification: Notification) -> Delivery:
        return notifications.get(notification.id, key=_reader(notification)).deliveries[0]

    return delivery


@pytest.fixture
def count(app: Flask) -> Callable[[type[Base]], int]:
    """Count the rows of a table."""

    def count(table: type[Base]) -> int:
        return db.session.scalar(select(func.count()).select_from(table)) or 0

    return count


def _reader(notification: Notification) -> ApiKey:
    return ApiKey(mode=notification.mode)


SENT = Result(Outcome.SENT, Blame.NOBODY, Phase.DOT, Reply(250, "2.0.0", "queued as 1"), 3)
GREYLISTED = Result(Outcome.DEFERRED, Blame.RECIPIENT, Phase.RCPT, Reply(450, "4.2.0", "greylisted"), 3)
REFUSED = Result(Outcome.FAILED, Blame.RECIPIENT, Phase.RCPT, Reply(550, "5.1.1", "no such user"), 3)
LOST = Result(Outcome.UNKNOWN, Blame.MESSAGE, Phase.DOT, Reply(None, None, "connection lost"), 3)
RELAY_DOWN = Result(Outcome.RELEASED, Blame.RELAY, Phase.CONNECT, Reply(None, None, "connection refused"), 3)
