"""Fixtures that all rooms share: an app on a database of its own, and verbs to act on it.

Which database: a test that uses one, through `app`, `settings` or `database_url`, runs on SQLite and again on
PostgreSQL; there is nothing to be said in the test. One that has no database (most of the wire, MIME, schemas,
rendering) runs once. What is about SQLite's own files says `@pytest.mark.sqlite`, and what is about PostgreSQL alone
`@pytest.mark.postgresql`. What needs a database but ends before it or beyond it (requests that are refused by their
form, the dialogue with the relay, pages in a browser) says `@pytest.mark.once` and runs on SQLite. tests/e2e and the
tests of the command line run real commands in a directory of their own, which is to say on SQLite; those of them that
are about PostgreSQL say so.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import func, select

from api import paths
from api.app import create_app
from api.config import Settings
from api.core import clock, dispatchers, keys, notifications, outbox, settling
from api.core.claim import Address, Blame, Claim, Reply, Result, Settlement
from api.core.db import Base, close, db, transact
from api.core.models import ApiKey, Delivery, Notification
from api.core.rendering import Library
from schemas.vocabulary import Mode, Outcome, Phase, Scope
from tests.postgresql.lent import Lent, make_tables
from tests.postgresql.server import Server as Postgresql

# A developer's own settings must not steer the tests.
for name in [name for name in os.environ if name.startswith(("POSTROOM_", "MAIL_", "FLASKY_"))]:
    del os.environ[name]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a database on each of them."""
    if "database" in metafunc.fixturenames:
        kinds = ("sqlite", "postgresql")
        only = [kind for kind in kinds if metafunc.definition.get_closest_marker(kind) is not None]
        if metafunc.definition.get_closest_marker("once") is not None:
            only = ["sqlite"]
        metafunc.parametrize("database", only or kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> str:
    """The kind of database: `sqlite` and `postgresql` in turn."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Have all apps share the shipped templates, compiled once: nothing changes them, and they cost half of an app."""
    shipped = [paths.share("templates") / "mail"]
    compiled = cache(partial(Library, shipped))

    def library(folders: list[Path], *, reload: bool) -> Library:
        return compiled() if folders == shipped and not reload else Library(folders, reload=reload)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.app.Library", library)
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server of this worker's own, started for the first test that needs one."""
    with Postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def lent(postgresql: Postgresql) -> Iterator[Lent]:
    """One PostgreSQL database that tests use one after the other, each finding it empty."""
    with closing(Lent(postgresql)) as lent:
        yield lent


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables and nothing in them: copying it is quicker than making it for each test."""
    path = tmp_path_factory.mktemp("tables") / "postroom.db"
    make_tables(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> str:
    """The URL of a database with the tables and nothing in them."""
    if database == "postgresql":
        lent: Lent = request.getfixturevalue("lent")
        return lent.empty()
    shutil.copy(request.getfixturevalue("tables"), tmp_path / "postroom.db")
    return f"sqlite:///{tmp_path}/postroom.db"


@pytest.fixture
def settings(database_url: str) -> Settings:
    """The settings of `app`; a test module overrides this fixture for others."""
    return Settings(
        database_url=database_url,
        sender="Postroom <postroom@example.org>",
        admin="Admin <admin@example.org>",
        subject_prefix="[Postroom]",
        allowed_senders=("postroom@example.org", "@example.net"),
    )


@pytest.fixture
def app(settings: Settings, tmp_path: Path) -> Iterator[Flask]:
    """An app with its tables, inside its context; its dispatchers keep their journals in the test's directory."""
    app = create_app(settings)
    app.extensions["postroom.dispatch"] = replace(app.extensions["postroom.dispatch"], journals=tmp_path)
    with app.app_context():
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
