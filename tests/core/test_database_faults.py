"""A database in trouble: nothing is half stored, the caller is told to come back, and then everything goes on."""

import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import current_app
from sqlalchemy import event, text

from api.core import db as database
from api.core import dispatchers, notifications, outbox, sqlite
from api.core.claim import Address
from api.core.db import db, transact
from api.core.errors import Unavailable
from api.core.models import Content, Delivery, Dispatcher, Notification
from schemas.vocabulary import DeliveryStatus
from tests.conftest import GREYLISTED, SENT

#: Takes SQLite's write lock as any other program might, without queueing for our turn, until its stdin is closed.
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    # Read when the app is made: before `app`, as autouse fixtures are.
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.3)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.3)


@pytest.fixture
def path(app, tmp_path):
    return tmp_path / "postroom.db"


@contextmanager
def locked_elsewhere(path):
    process = subprocess.Popen([sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield


@contextmanager
def full(path):
    """The database may not grow by a page, as on a full disk."""
    with pragma("max_page_count", "1"):
        yield


@contextmanager
def read_only(path):
    with pragma("query_only", "ON"):
        yield


@contextmanager
def pragma(name, value):
    """Give every connection of the process a pragma."""

    def execute(connection, _record):
        connection.execute(f"PRAGMA {name}={value}")

    let_go()
    event.listen(db.engine, "connect", execute)
    try:
        yield
    finally:
        event.remove(db.engine, "connect", execute)
        let_go()


def let_go():
    db.session.remove()
    db.engine.dispose()
    current_app.extensions["postroom.writer"].close()


@contextmanager
def files_cannot_grow(path):
    """The system refuses every write into files beyond their first octets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def damaged(path):
    """All pages but the first are nonsense."""
    db.session.remove()
    db.engine.dispose()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    try:
        yield
    finally:
        db.session.remove()
        db.engine.dispose()
        for log in path.parent.glob("postroom.db-*"):
            log.unlink()
        path.write_bytes(whole)


@contextmanager
def without_tables(path):
    tables = ("deliveries", "dispatchers", "notifications")
    rename(path, {name: f"lost_{name}" for name in tables})
    try:
        yield
    finally:
        rename(path, {f"lost_{name}": name for name in tables})


def rename(path, names):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA legacy_alter_table=ON")
    for old, new in names.items():
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    connection.commit()
    connection.close()


FAULTS = [locked_elsewhere, full, read_only, files_cannot_grow, damaged, without_tables]


@pytest.mark.sqlite
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("durable", [True, False])
def test_a_writer_is_told_to_come_back_and_nothing_is_stored(path, count, fault, durable):
    long = "x" * 20_000  # more than a page has left

    def write(session):
        id_ = dispatchers.register(session)
        session.execute(text("UPDATE dispatchers SET host = :long WHERE id = :id"), {"long": long, "id": id_.hex})

    transact(dispatchers.register)
    with fault(path), pytest.raises(Unavailable) as told:
        transact(write, durable=durable)
    assert str(path.parent) not in told.value.detail
    assert told.value.retry_after > 0
    assert count(Dispatcher) == 1
    transact(write, durable=durable)
    assert count(Dispatcher) == 2


@pytest.mark.sqlite
@pytest.mark.parametrize("fault", FAULTS)
def test_a_message_is_accepted_with_all_its_rows_or_not_at_all(path, accept, count, fault):
    big = {"to": [Address(f"user{number}@example.org") for number in range(40)], "text": "Good day.\n" * 2000}
    accept()
    with fault(path), pytest.raises(Unavailable):
        accept(**big)
    assert [count(table) for table in (Notification, Content, Delivery)] == [1, 1, 1]
    accept(**big)
    assert [count(table) for table in (Notification, Content, Delivery)] == [2, 2, 41]


@pytest.mark.sqlite
@pytest.mark.parametrize("fault", FAULTS)
def test_a_result_that_could_not_be_stored_is_stored_afterwards(path, accept, claim, settle, delivery, fault):
    accepted = accept()
    [held] = claim()
    long = SENT._replace(reply=replace(SENT.reply, text="queued " * 5000))
    with fault(path), pytest.raises(Unavailable):
        settle(held, long)
    assert delivery(accepted).status is DeliveryStatus.SENDING
    assert claim() == []  # nobody sends it a second time meanwhile
    assert settle(held, long)
    assert delivery(accepted).status is DeliveryStatus.SENT
    assert delivery(accepted).attempts == 1


@pytest.mark.sqlite
# A claim changes rows in their place: a full disk need not hinder it.
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault is not full])
def test_a_claim_that_could_not_be_stored_claims_nothing(path, accept, claim, delivery, fault):
    accepted = accept()
    with fault(path), pytest.raises(Unavailable):
        claim()
    waiting = delivery(accepted)
    assert (waiting.status, waiting.attempts) == (DeliveryStatus.QUEUED, 0)
    assert len(claim()) == 1


@pytest.mark.sqlite
def test_reading_goes_on_while_another_program_holds_the_write_lock(path, accept, key):
    accepted = accept()
    with locked_elsewhere(path):
        assert notifications.get(accepted.id, key=key).id == accepted.id


class TestAClockThatJumps:
    def test_the_holder_does_not_send_again_what_it_is_sending(self, accept, claim, settle, delivery, at):
        accepted = accept()
        [held] = claim()
        at(days=2)
        assert claim() == []
        at(days=0)
        assert claim() == []
        assert settle(held, SENT)
        assert (delivery(accepted).status, delivery(accepted).attempts) == (DeliveryStatus.SENT, 1)

    def test_what_was_claimed_while_it_was_ahead_can_be_settled_when_it_is_back(self, accept, claim, settle, at):
        accept()
        at(days=2)
        [held] = claim()
        at(days=0)
        assert settle(held, SENT)

    @pytest.mark.parametrize("days", [-2, 2])
    def test_a_retry_waits_no_longer_than_the_longest_pause(self, app, accept, claim, settle, delivery, at, days):
        accepted = accept()
        [held] = claim()
        at(days=days)
        settle(held, GREYLISTED)
        at(days=0)
        rules = app.extensions["postroom.policy"]
        transact(lambda session: outbox.unstick(session, names=["default"], schedule=rules.schedule, lease=rules.lease))
        longest = max(rules.schedule.longest, rules.lease)
        assert delivery(accepted).due_at <= at(seconds=0) + longest
        at(seconds=longest.total_seconds())
        assert len(claim()) == 1

    def test_the_lease_of_a_dead_holder_ends_in_its_time(self, app, accept, claim, at):
        accept()
        at(days=2)
        [held] = claim()
        other = transact(dispatchers.register)
        at(days=0)
        rules = app.extensions["postroom.policy"]
        transact(lambda session: outbox.unstick(session, names=["default"], schedule=rules.schedule, lease=rules.lease))
        at(seconds=rules.lease.total_seconds())
        [again] = claim(by=other)
        assert again.delivery_id == held.delivery_id
        assert again.token != held.token

    def test_mail_that_waits_does_not_expire_by_two_days(self, accept, delivery, at):
        accepted = accept()
        at(days=2)
        assert transact(outbox.expire) == 0
        at(days=0)
        assert delivery(accepted).status is DeliveryStatus.QUEUED

    def test_what_was_accepted_or_given_back_while_it_was_ahead_is_sent_when_it_is_back(self, app, accept, claim, at):
        given_back = accept()
        at(days=2)
        held = claim()
        transact(lambda session: outbox.release(session, held))
        accepted = accept()
        at(seconds=5)
        rules = app.extensions["postroom.policy"]
        transact(lambda session: outbox.unstick(session, names=["default"], schedule=rules.schedule, lease=rules.lease))
        at(seconds=rules.lease.total_seconds() + timedelta(seconds=10).total_seconds())
        assert {one.notification_id for one in claim()} == {given_back.id, accepted.id}
