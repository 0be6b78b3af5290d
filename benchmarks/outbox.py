"""Outboxes full of accepted mail: real rows, made by the code that accepts mail, kept as files to be copied."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from flask import Flask

from api.app import create_app
from api.config import Settings
from api.core import drafts, migrations, notifications
from api.core.claim import Address
from api.core.db import close, transact
from benchmarks.letters import SENDER, Letter, letter
from schemas.vocabulary import Mode

#: Mails accepted in one transaction; what is measured comes later.
_BATCH = 500


@contextmanager
def opened(database: Path | str) -> Iterator[Flask]:
    """Give an app in its context on this database, a file of SQLite's or a URL, with its tables."""
    app = create_app(
        Settings(
            database_url=f"sqlite:///{database}" if isinstance(database, Path) else database,
            sender=SENDER,
            rate_limit="off",
            recipient_limit="off",
            max_queue="off",
        )
    )
    try:
        with app.app_context():
            migrations.upgrade()
            yield app
    finally:
        close(app)


def fill(database: Path | str, count: int) -> None:
    """Make a database with so many accepted mails."""
    with opened(database):
        for start in range(0, count, _BATCH):
            accepted = [draft(letter(number)) for number in range(start, min(start + _BATCH, count))]
            transact(partial(notifications.store, accepted=accepted, mode=Mode.LIVE))


def draft(one: Letter) -> drafts.Draft:
    """Return the mail checked and frozen, as a request would have it."""
    return drafts.make(mode=Mode.LIVE, to=[Address(one.recipient)], subject=one.subject, text=one.text, html=one.html)


def copy(filled: Path, target: Path) -> Path:
    """Copy a database that nobody has open; return the copy."""
    assert not filled.with_name(filled.name + "-wal").exists(), "the copy would miss what is in the log"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(filled, target)
    # Else the first sync of whoever is measured would wait for all of the copy.
    with target.open("rb+") as copied:
        os.fsync(copied.fileno())
    return target


def statuses(database: Path) -> dict[str, int]:
    """Return how many deliveries there are of each status."""
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT status, count(*) FROM deliveries GROUP BY status"))


def attempts(database: Path) -> int:
    """Return how many attempts the history holds."""
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM attempts").fetchone()[0])
