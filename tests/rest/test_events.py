"""GET /v1/notifications/{id}/events: server-sent events as the WHATWG's HTML standard has them."""

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete

from api.core import clock
from api.core.db import transact
from api.core.models import Notification
from api.rest import events
from tests.conftest import SENT
from tests.rest.conftest import is_problem

STREAM = {"Accept": "text/event-stream"}
LATER, STILL_LATER = (f"{clock.utcnow() + timedelta(days=days):%Y-%m-%d}T09:00:00Z" for days in (40, 41))


class Reader:
    """Reads a stream as a browser does: blocks end with an empty line, a line that begins with a colon says nothing."""

    def __init__(self, answer):
        self.answer = answer
        self._chunks = iter(answer.response)
        self._text = ""
        self.comments = 0
        self.retry = None

    def next(self):
        """Return the next event as its fields, None at the end."""
        while True:
            while "\n\n" not in self._text:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return None
                self._text += chunk.decode()
            block, _, self._text = self._text.partition("\n\n")
            fields = self._fields(block)
            if "data" in fields:
                return fields

    def _fields(self, block):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "":
                self.comments += 1
            elif name == "retry":
                self.retry = int(value)
            elif name == "data" and "data" in fields:
                fields["data"] += "\n" + value
            else:
                assert name in ("id", "event", "data")
                fields[name] = value
        return fields


@pytest.fixture
def watch(app):
    return app.extensions["postroom.watch"]


@pytest.fixture
def follow(client):
    """Follow a notification."""

    def follow(status, **headers):
        answer = client.get(f"{status['url']}/events", headers={**STREAM, **headers}, buffered=False)
        assert answer.status_code == 200, answer.text
        answers.append(answer)
        return Reader(answer)

    answers: list[Any] = []
    yield follow
    for answer in answers:
        answer.close()


@pytest.mark.parametrize("accept", ["application/json", "text/html, application/*", "text/event-stream;q=0", "*/*;q=0"])
def test_who_does_not_take_events_gets_none(client, send, accept):
    answer = client.get(f"{send()['url']}/events", headers={"Accept": accept})

    assert is_problem(answer, 406)


def test_who_says_nothing_of_events_gets_none(client, send):
    assert is_problem(client.get(f"{send()['url']}/events"), 406)


@pytest.mark.parametrize("accept", ["text/event-stream", "TEXT/event-stream, */*;q=0.1", "text/*", "*/*"])
def test_who_takes_events_gets_them(client, send, accept):
    answer = client.get(f"{send()['url']}/events", headers={"Accept": accept}, buffered=False)

    assert answer.status_code == 200
    assert answer.content_type.partition(";")[0] == "text/event-stream"
    answer.close()


def test_nothing_on_the_way_is_to_keep_or_to_gather_events(follow, send):
    headers = follow(send()).answer.headers

    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers


def test_the_first_event_is_how_it_stands(client, follow, send):
    status = send()
    found = client.get(status["url"])
    reader = follow(status)

    first = reader.next()

    assert first == {"event": "status", "id": found.headers["ETag"], "data": first["data"]}
    assert json.loads(first["data"]) == found.json
    assert reader.retry == 3000


def test_each_change_is_an_event_and_the_end_ends_the_stream(client, follow, send, claim, settle):
    status = send(to=["ann@example.org", "bob@example.org"])
    reader = follow(status)
    told = [reader.next()]
    held = claim()
    told.append(reader.next())
    settle(held[0], SENT)
    told.append(reader.next())
    settle(held[1], SENT)
    told.append(reader.next())

    assert [json.loads(one["data"])["status"] for one in told] == ["queued", "sending", "sending", "sent"]
    assert len({one["id"] for one in told}) == 4
    assert told[-1]["id"] == client.get(status["url"]).headers["ETag"]
    last = reader.next()
    assert (last["event"], json.loads(last["data"])) == ("finished", {"status": "sent"})
    assert reader.next() is None


def test_what_is_finished_is_told_and_over(client, follow, send):
    status = send()
    client.post(f"{status['url']}/cancel")
    reader = follow(status)

    assert [one and one["event"] for one in (reader.next(), reader.next(), reader.next())] == [
        "status",
        "finished",
        None,
    ]


def test_who_asks_again_with_the_last_id_is_told_only_what_is_new(client, follow, send):
    status = send(send_at=LATER)
    known = follow(status).next()
    reader = follow(status, **{"Last-Event-ID": known["id"]})
    assert next(reader._chunks)
    client.patch(status["url"], json={"send_at": STILL_LATER})

    assert json.loads(reader.next()["data"])["send_at"].startswith(STILL_LATER[:10])


def test_who_asks_again_after_the_end_is_told_to_stop(client, follow, send):
    status = send()
    client.post(f"{status['url']}/cancel")
    known = follow(status).next()

    answer = client.get(f"{status['url']}/events", headers={**STREAM, "Last-Event-ID": known["id"]})

    assert (answer.status_code, answer.data) == (204, b"")


@pytest.mark.parametrize("last", ["", '"something else"', "x" * 1000, "é", '"a", "b"'])
def test_an_unknown_last_id_counts_for_nothing(follow, send, last):
    assert follow(send(), **{"Last-Event-ID": last}).next()["event"] == "status"


def test_a_silent_stream_says_now_and_then_that_it_lives(monkeypatch, client, follow, send):
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.02)
    status = send(send_at=LATER)
    reader = follow(status)
    reader.next()
    for _ in range(3):
        assert next(reader._chunks) == b": still there\n\n"
    client.post(f"{status['url']}/cancel")
    assert json.loads(reader.next()["data"])["status"] == "cancelled"


def test_a_stream_ends_after_its_time_so_that_no_one_keeps_it_for_ever(monkeypatch, follow, send):
    monkeypatch.setattr(events, "LONGEST", 0.2)
    reader = follow(send())

    assert reader.next()["event"] == "status"
    assert reader.next() is None


def test_streams_end_when_the_process_does(follow, send, watch):
    reader = follow(send())
    reader.next()
    watch.drain()

    assert reader.next() is None


def test_a_stream_ends_when_the_notification_is_gone(app, follow, send):
    status = send(send_at=LATER)
    reader = follow(status)
    reader.next()
    gone = delete(Notification).where(Notification.id == UUID(status["id"]))
    transact(lambda session: session.execute(gone))

    assert reader.next() is None


def test_an_unknown_notification_has_no_events(client, test_client, send):
    url = send()["url"]

    assert is_problem(test_client.get(f"{url}/events", headers=STREAM), 404)
    assert is_problem(client.get(f"{url[:-1]}x/events", headers=STREAM), 404)


class TestFewSeats:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, waiters=1)

    def test_past_the_bound_a_follower_is_told_to_come_later(self, client, follow, send):
        status = send()
        follow(status)

        answer = client.get(f"{status['url']}/events", headers=STREAM)

        assert is_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        assert "Preference-Applied" not in client.get(status["url"], headers={"Prefer": "wait=60"}).headers

    @pytest.mark.parametrize("read", [0, 1])
    def test_whoever_goes_leaves_the_seat_to_the_next(self, client, send, watch, read):
        status = send()
        for _ in range(3):
            answer = client.get(f"{status['url']}/events", headers=STREAM, buffered=False)
            assert answer.status_code == 200
            reader = Reader(answer)
            for _ in range(read):
                reader.next()
            assert watch.taken() == 1
            answer.close()
            assert watch.taken() == 0

    def test_a_head_takes_no_seat_for_long(self, client, send, watch):
        begun = time.monotonic()
        assert client.head(f"{send()['url']}/events", headers=STREAM).status_code == 200
        assert time.monotonic() - begun < 30
        assert watch.taken() == 0
