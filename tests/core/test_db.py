import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, StatementError

from api.core import db as database
from api.core import dispatchers, ids, sqlite
from api.core.db import db, transact
from api.core.errors import Unavailable
from api.core.models import Dispatcher
from api.core.road import Turn

#: Holds a lock file as another process of ours does while it writes, until its stdin is closed.
HOLD_TURN = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    # Read when the app is made: before `app`, as autouse fixtures are.
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.3)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.3)


@contextmanager
def turn_held_elsewhere(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_TURN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield


def number_stored(path):
    """Return what another connection can see: what was committed."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT count(*) FROM dispatchers").fetchone()[0]
    finally:
        connection.close()


@pytest.fixture
def path(app, tmp_path):
    return tmp_path / "postroom.db"


@pytest.mark.sqlite
def test_what_was_done_is_stored_when_it_returns(path):
    id_ = transact(dispatchers.register)
    assert number_stored(path) == 1
    assert db.session.get(Dispatcher, id_) is not None


@pytest.mark.sqlite
def test_work_that_raises_stores_nothing_and_its_error_comes_through(path):
    def fail(session):
        dispatchers.register(session)
        raise LookupError("by the use-case")

    with pytest.raises(LookupError, match="by the use-case"):
        transact(fail)
    assert number_stored(path) == 0
    transact(dispatchers.register)
    assert number_stored(path) == 1


@pytest.mark.sqlite
def test_a_broken_rule_of_the_tables_is_told_apart_from_a_database_in_trouble(app, path):
    def write(session):
        session.execute(
            text("INSERT INTO contents (notification_id, sender_email, headers, attached) VALUES ('x', 'a', '{}', 0)")
        )

    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        transact(write)


@pytest.mark.sqlite
@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_a_commit_waits_for_the_disk_only_if_it_must_last(app, durable, level):
    # 2 is FULL: the log is synced at each commit. 1 is NORMAL: only at checkpoints.
    transact(lambda session: None, durable=not durable)
    assert transact(lambda session: session.scalar(text("PRAGMA synchronous")), durable=durable) == level


@pytest.mark.sqlite
def test_a_commit_must_last_unless_told_otherwise(app):
    transact(dispatchers.register, durable=False)
    assert transact(lambda session: session.scalar(text("PRAGMA synchronous"))) == 2


@pytest.mark.sqlite
def test_the_log_is_written_ahead_and_references_are_checked(app):
    assert db.session.scalar(text("PRAGMA journal_mode")) == "wal"
    assert db.session.scalar(text("PRAGMA foreign_keys")) == 1


def test_reading_goes_on_while_somebody_writes(app):
    def look(session):
        dispatchers.register(session)
        with db.engine.connect() as other:
            return other.scalar(text("SELECT count(*) FROM dispatchers"))

    assert transact(look) == 0


@pytest.mark.sqlite
def test_threads_write_one_after_the_other_and_none_is_lost(app, path):
    failed = []

    def write():
        try:
            with app.app_context():
                for _ in range(5):
                    transact(dispatchers.register, durable=False)
        except Unavailable as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert number_stored(path) == 20


@pytest.mark.sqlite
def test_who_waits_too_long_for_a_thread_that_writes_is_told_to_come_back(app, path):
    inside, go_on = threading.Event(), threading.Event()

    def hold(session):
        dispatchers.register(session)
        inside.set()
        go_on.wait(30)

    def write():
        with app.app_context():
            transact(hold)

    slow = threading.Thread(target=write)
    slow.start()
    assert inside.wait(30)
    with pytest.raises(Unavailable, match="busy"):
        transact(dispatchers.register)
    go_on.set()
    slow.join()
    assert number_stored(path) == 1


@pytest.mark.sqlite
def test_who_waits_too_long_for_another_process_is_told_to_come_back_before_any_work(app, path):
    worked: list[object] = []
    with turn_held_elsewhere(f"{path}.writer"), pytest.raises(Unavailable, match="busy"):
        transact(worked.append)
    assert worked == []
    transact(dispatchers.register)
    assert number_stored(path) == 1


@pytest.mark.sqlite
def test_the_turn_is_passed_on_after_work_that_failed(app, path):
    with pytest.raises(ZeroDivisionError):
        transact(lambda session: 1 / 0)
    with turn_held_elsewhere(f"{path}.writer"):
        pass  # it was free to be taken
    transact(dispatchers.register)


@pytest.mark.sqlite
def test_a_place_where_no_file_can_be_made_is_told_to_the_writer(app, tmp_path):
    turn = Turn(tmp_path / "nowhere" / "postroom.db.writer")
    with pytest.raises(Unavailable, match="cannot be written"), turn.taken():
        pass
    (tmp_path / "nowhere").mkdir()
    with turn.taken():
        pass
    turn.close()


def test_a_closed_turn_can_be_taken_again(tmp_path):
    turn = Turn(tmp_path / "postroom.db.writer")
    for _ in range(2):
        with turn.taken():
            pass
        turn.close()


@pytest.mark.sqlite
def test_a_time_without_a_zone_is_not_stored(app, path):
    naive = datetime(2027, 1, 1)  # noqa: DTZ001 -- the value under test
    with pytest.raises(StatementError, match="naive"):
        transact(lambda session: session.add(_row(naive)))
    assert number_stored(path) == 0


def test_a_time_of_any_zone_comes_back_as_the_same_instant_in_utc(app):
    zoned = datetime(2027, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=14)))
    row = _row(zoned)
    transact(lambda session: session.add(row))
    db.session.remove()
    found = db.session.get(Dispatcher, row.id)
    assert found is not None
    assert found.seen_at == zoned
    assert found.seen_at.tzinfo is UTC


def _row(seen_at):
    now = datetime(2027, 1, 1, tzinfo=UTC)
    return Dispatcher(id=ids.new(), host="here", pid=1, drive="thread", started_at=now, seen_at=seen_at)
