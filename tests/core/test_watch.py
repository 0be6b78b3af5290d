"""Watching: what counts as a change, and who is told of it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import delete, text

from api.core import clock, erasure, lifecycle, outbox, watch
from api.core.db import close, db, transact
from api.core.errors import Unavailable
from api.core.models import Notification
from api.core.watch import Mark, Watch
from schemas.vocabulary import Mode
from tests.conftest import GREYLISTED, LOST, REFUSED, RELAY_DOWN, SENT

PATIENCE = 30
HOUR = timedelta(hours=1)


@pytest.fixture
def mark(app):
    """Tell how a notification stands, read afresh."""

    def mark(notification):
        watch.pause()
        return watch.mark(notification.id)

    return mark


@pytest.fixture
def waits(app):
    """Wait for a notification in another thread; return what comes of it, once it waits."""

    def waits(notification, mark, *, seconds=PATIENCE):
        before = found.waiting()
        future = pool.submit(found.wait, notification.id, mark, seconds)
        deadline = time.monotonic() + PATIENCE
        while found.waiting() == before and not future.done():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return future

    found: Watch = app.extensions["postroom.watch"]
    with ThreadPoolExecutor(8) as pool:
        yield waits
        found.drain()


@pytest.mark.parametrize("result", [SENT, REFUSED, GREYLISTED, LOST, RELAY_DOWN], ids=lambda one: one.outcome)
def test_a_claim_and_whatever_it_comes_to_are_changes(accept, claim, settle, mark, result):
    notification = accept()
    marks = [mark(notification)]
    [held] = claim()
    marks.append(mark(notification))
    settle(held, result)
    marks.append(mark(notification))

    assert len({one.rows for one in marks}) == 3
    assert marks[2].is_finished == (result in (SENT, REFUSED))
    assert mark(notification) == marks[2]


def test_what_comes_back_to_where_it_was_has_changed(accept, claim, settle, mark, at):
    notification = accept()
    [held] = claim()
    before = mark(notification)
    settle(held, RELAY_DOWN)
    at(minutes=1)
    claim()
    after = mark(notification)

    assert before != after  # it is being sent for the first time again, and the history tells more


def test_what_the_caller_does_is_a_change(accept, key, mark):
    notification = accept(send_at=clock.utcnow() + HOUR)
    marks = [mark(notification)]
    lifecycle.reschedule(notification.id, key=key, send_at=clock.utcnow() + 2 * HOUR)
    marks.append(mark(notification))
    lifecycle.cancel(notification.id, key=key)
    marks.append(mark(notification))
    erasure.erase_recipient("ann@example.org", mode=Mode.LIVE)
    marks.append(mark(notification))

    assert len({one.rows for one in marks}) == 4


def test_the_time_to_send_is_a_change_though_nobody_writes(accept, mark, at):
    notification = accept(send_at=clock.utcnow() + HOUR)
    before = mark(notification)
    at(hours=2)

    assert mark(notification) != before


def test_a_renewed_lease_is_nobodys_business(accept, claim, mark):
    notification = accept()
    [held] = claim()
    before = mark(notification)
    assert transact(partial(outbox.confirm, claim=held, lease=3 * HOUR))

    assert mark(notification) == before


def test_what_is_not_there_is_finished(accept, mark):
    notification = accept()
    before = mark(notification)
    transact(lambda session: session.execute(delete(Notification).where(Notification.id == notification.id)))

    assert mark(notification) == watch.mark(uuid4()) == Mark()
    assert before != Mark()
    assert Mark().is_finished


def test_whoever_waits_is_told_and_the_others_are_not(accept, key, mark, waits):
    one, other = accept(), accept()
    futures = [waits(one, mark(one)), waits(one, mark(one)), waits(other, mark(other))]
    lifecycle.cancel(one.id, key=key)

    assert futures[0].result(PATIENCE) is futures[1].result(PATIENCE) is True
    assert not futures[2].done()


def test_what_changed_before_the_wait_began_is_not_missed(accept, key, mark, waits):
    notification = accept()
    before = mark(notification)
    lifecycle.cancel(notification.id, key=key)

    assert waits(notification, before).result(PATIENCE) is True


def test_time_that_is_up_is_told_from_a_change(accept, mark, waits):
    notification = accept()

    assert waits(notification, mark(notification), seconds=0.05).result(PATIENCE) is False


def test_the_watch_goes_on_after_trouble_with_the_database(accept, key, mark, waits, caplog):
    notification = accept()
    before = mark(notification)
    rename("deliveries", "elsewhere")
    future = waits(notification, before)
    deadline = time.monotonic() + PATIENCE
    while "cannot be watched" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    rename("elsewhere", "deliveries")
    lifecycle.cancel(notification.id, key=key)

    assert future.result(PATIENCE) is True


def rename(name: str, other: str) -> None:
    watch.pause()
    transact(lambda session: session.execute(text(f"ALTER TABLE {name} RENAME TO {other}")))


def test_seats_are_bounded_and_given_back(app, accept, key):
    notification = accept()
    few = Watch(app, seats=2)
    seats = [few.seat(notification.id, key=key) for _ in range(2)]
    with pytest.raises(Unavailable):
        few.seat(notification.id, key=key)
    for _ in range(3):
        seats[0].leave()
    assert few.taken() == 1
    few.seat(notification.id, key=key)
    assert few.taken() == 2


def test_nobody_sits_down_when_the_process_ends(app, accept, key, mark):
    notification = accept()
    ending = Watch(app, seats=2)
    seat = ending.seat(notification.id, key=key)
    ending.drain()

    assert seat.is_over
    assert seat.wait(notification.id, mark(notification), PATIENCE) is True
    with pytest.raises(Unavailable):
        ending.seat(notification.id, key=key)


def test_whoever_closes_the_app_waits_for_what_is_being_read(app, accept, mark, waits, monkeypatch):
    reads, may_end = threading.Event(), threading.Event()
    real = watch.read

    def read(session, ids):
        found = real(session, ids)
        if threading.current_thread().name == "watch":
            reads.set()
            assert may_end.wait(PATIENCE)
        return found

    notification = accept()
    before = mark(notification)
    watch.pause()
    monkeypatch.setattr(watch, "read", read)
    waiting = waits(notification, before)
    assert reads.wait(PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(close, app)
        assert not wait([closing], timeout=0.3).done
        may_end.set()
        closing.result(PATIENCE)
        assert waiting.result(PATIENCE) is True  # to look for themselves
    monkeypatch.undo()
    assert waits(notification, before, seconds=0.2).result(PATIENCE) is False  # who comes again is welcome


def test_waiting_opens_no_connection(app, accept, mark, waits):
    others = set(threading.enumerate())  # of tests before this one, about to end
    notification = accept()
    before = mark(notification)
    watch.pause()
    futures = [waits(notification, before) for _ in range(6)]
    pool = getattr(db.engine, "pool")  # noqa: B009 -- its class is known to the engine alone
    deadline = time.monotonic() + PATIENCE
    while pool.checkedout():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert sum(thread.name == "watch" for thread in threading.enumerate() if thread not in others) == 1
    assert not any(future.done() for future in futures)
