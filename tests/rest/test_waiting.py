"""Prefer: wait=N on a notification, and asking again by its ETag."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from api.core import clock, erasure
from api.core.db import db
from api.rest.waiting import preferred
from schemas.vocabulary import Mode
from tests.conftest import GREYLISTED, SENT
from tests.rest.conftest import is_problem

#: Seconds for what should take one.
PATIENCE = 30
LATER, STILL_LATER = (f"{clock.utcnow() + timedelta(days=days):%Y-%m-%d}T09:00:00Z" for days in (40, 41))


@pytest.fixture
def watch(app):
    return app.extensions["postroom.watch"]


@pytest.fixture
def until():
    """Return once something is true."""

    def until(condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    return until


@pytest.fixture
def ask(client, watch, until):
    """Ask in another thread, and return what will be answered once the question waits."""

    def ask(status, prefer="wait=60", *, waits=True, **headers):
        before = watch.waiting()
        future = pool.submit(client.get, status["url"], headers={"Prefer": prefer, **headers})
        until(lambda: future.done() or (waits and watch.waiting() > before))
        return future

    with ThreadPoolExecutor(40) as pool:
        yield ask
        watch.drain()


def soon(future):
    return future.result(PATIENCE)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=10", 10),
        ("WAIT = 10", 10),
        ('wait="10"', 10),
        ("respond-async, wait=10", 10),
        ("respond-async,wait=10;foo=bar", 10),
        ('handling=lenient; q="a, wait=5", wait=10', 10),
        (",, wait=10 ,", 10),
        ("wait=10, wait=20", 10),
        ("wait=0", 0),
        ("wait=060", 60),
        ("wait=61", 60),
        ("wait=" + "9" * 5000, 60),
        ("wait", None),
        ("wait=", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=ten", None),
        ("wait=٣", None),
        ("wait=1 0", None),
        ('wait="10', None),
        ("await=10", None),
        ("x=wait=10", None),
    ],
)
def test_a_preference_is_read_as_rfc_7240_has_it_and_nonsense_is_ignored(header, seconds):
    assert preferred(header) == seconds


@given(st.text(st.sampled_from('wait=0123456789,; "\\\t'), max_size=60) | st.text(max_size=60))
def test_no_header_is_too_odd_to_be_read(header):
    seconds = preferred(header)
    assert seconds is None or 0 <= seconds <= 60


def test_without_a_wish_nothing_is_said_of_one(client, send):
    answer = client.get(send()["url"])

    assert "Preference-Applied" not in answer.headers
    assert "Prefer" in answer.headers["Vary"]


def test_the_answer_comes_with_the_change(send, ask, claim, settle):
    future = ask(send())
    assert not future.done()
    settle(claim()[0], SENT)

    answer = soon(future)

    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert "Prefer" in answer.headers["Vary"]
    assert answer.json["status"] in ("sending", "sent")


def test_each_change_can_be_waited_for_in_turn(send, ask, claim, settle):
    status = send()
    future = ask(status)
    [held] = claim()
    assert soon(future).json["status"] == "sending"
    future = ask(status)
    settle(held, GREYLISTED)
    answer = soon(future)
    assert answer.json["status"] == "deferred"
    assert answer.json["deliveries"][0]["history"][0]["reply"] == "greylisted"


def test_a_change_that_another_process_made_is_seen_too(app, send, ask, claim, settle):
    status = send()
    future = ask(status)
    del app.extensions["postroom.written"]
    claim()

    assert soon(future).json["status"] == "sending"


def test_a_longer_wish_than_a_minute_is_cut_to_one(client, send):
    status = send()
    client.post(f"{status['url']}/cancel")

    assert client.get(status["url"], headers={"Prefer": "wait=3600"}).headers["Preference-Applied"] == "wait=60"


def test_when_the_time_is_up_the_answer_is_what_it_was(client, send):
    status = send()
    first = client.get(status["url"])

    begun = time.monotonic()
    answer = client.get(status["url"], headers={"Prefer": "wait=1"})

    assert time.monotonic() - begun >= 1
    assert (answer.status_code, answer.data, answer.headers["ETag"]) == (200, first.data, first.headers["ETag"])
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_when_the_time_is_up_and_the_tag_is_right_it_is_304(client, send):
    status = send()
    tag = client.get(status["url"]).headers["ETag"]

    answer = client.get(status["url"], headers={"Prefer": "wait=1", "If-None-Match": f'"other", W/{tag}'})

    assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", tag)
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_a_known_state_is_waited_beyond(client, send, ask, claim):
    status = send()
    tag = client.get(status["url"]).headers["ETag"]
    future = ask(status, **{"If-None-Match": tag})
    claim()

    answer = soon(future)

    assert (answer.status_code, answer.json["status"]) == (200, "sending")
    assert answer.headers["ETag"] != tag


def test_a_state_other_than_the_known_one_is_told_at_once(send, ask):
    answer = soon(ask(send(), waits=False, **{"If-None-Match": '"of an hour ago"'}))

    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=60")


def test_what_is_finished_is_told_at_once(client, send, ask):
    status = send()
    tag = client.post(f"{status['url']}/cancel").json and client.get(status["url"]).headers["ETag"]

    assert soon(ask(status, waits=False)).json["status"] == "cancelled"
    assert soon(ask(status, waits=False, **{"If-None-Match": tag})).status_code == 304


def test_what_has_become_of_time_alone_is_a_change(send, ask, at):
    status = send(send_at=LATER)
    assert status["status"] == "scheduled"
    future = ask(status)
    at(days=42)

    assert soon(future).json["status"] == "queued"


def test_what_is_erased_while_somebody_waits_is_told(send, ask):
    future = ask(send())
    erasure.erase_recipient("ann@example.org", mode=Mode.LIVE)

    assert soon(future).json["deliveries"][0]["status"] == "cancelled"


def test_an_unknown_notification_is_not_waited_for(client, send):
    url = send()["url"].rsplit("/", 1)[0]

    answer = client.get(f"{url}/0190a000-0000-7000-8000-000000000000", headers={"Prefer": "wait=60"})

    assert is_problem(answer, 404)


def test_waiters_hold_no_connection_however_many_they_are(client, send, ask, until):
    futures = [ask(send(send_at=LATER)) for _ in range(35)]
    pool: Any = db.engine.pool
    # More than the pool could give; the watcher's own look is a matter of milliseconds.
    until(lambda: pool.checkedout() == 0)
    assert client.get("/v1/notifications").status_code == 200
    assert not any(future.done() for future in futures)


def test_one_look_serves_all_and_nobody_looks_for_nobody(app, send, ask, watch, until):
    statuses = [send(send_at=LATER) for _ in range(5)]
    looks = []

    def note(_connection, _cursor, statement, parameters, _context, _many):
        if "JOIN deliveries" in statement:
            looks.append(len(parameters))

    futures = [ask(status) for status in statuses]
    until(lambda: watch.waiting() == 5)
    event.listen(db.engine, "before_cursor_execute", note)
    until(lambda: len(looks) >= 3)
    assert set(looks[1:]) == {5}  # the first may have begun before the fifth came
    watch.drain()
    assert [soon(future).status_code for future in futures] == [200] * 5
    until(lambda: watch.waiting() == watch.taken() == 0)
    until(lambda: watch._thread is None)


def test_everybody_is_answered_when_the_process_ends(send, ask, watch):
    futures = [ask(send(send_at=LATER)) for _ in range(3)]
    watch.drain()

    for future in futures:
        assert soon(future).json["status"] == "scheduled"
    assert "Preference-Applied" not in soon(ask(send(), waits=False)).headers


class TestFewSeats:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, waiters=1)

    def test_past_the_bound_the_answer_comes_at_once(self, client, send, ask, claim):
        first = ask(send(send_at=LATER))
        second = soon(ask(send(), waits=False))
        assert second.status_code == 200
        assert "Preference-Applied" not in second.headers
        assert not first.done()

    def test_an_answered_waiter_leaves_the_seat(self, client, send, ask, watch):
        status = send(send_at=LATER)
        future = ask(status)
        client.patch(status["url"], json={"send_at": STILL_LATER})
        assert soon(future).json["send_at"].startswith(STILL_LATER[:10])
        assert watch.taken() == 0


@pytest.mark.parametrize("change", ["reschedule", "claim", "settle", "cancel"])
def test_the_tag_of_a_state_is_the_same_wherever_it_is_told(client, send, claim, settle, change):
    status = send(send_at=LATER) if change in ("reschedule", "cancel") else send()
    tag = client.get(status["url"]).headers["ETag"]
    told = None
    if change == "reschedule":
        told = client.patch(status["url"], json={"send_at": STILL_LATER}, headers={"If-Match": tag}).headers["ETag"]
    elif change == "cancel":
        client.post(f"{status['url']}/cancel")
    else:
        [held] = claim()
        if change != "claim":
            settle(held, SENT)
    found = client.get(status["url"])
    assert found.headers["ETag"] != tag
    assert told in (None, found.headers["ETag"])
    for header in (found.headers["ETag"], f"W/{found.headers['ETag']}", f'"x", {found.headers["ETag"]}', "*"):
        again = client.get(status["url"], headers={"If-None-Match": header})
        assert (again.status_code, again.data) == (304, b"")
    assert client.get(status["url"], headers={"If-None-Match": tag}).status_code == 200
