"""Plain messages go by a shorter way, which nobody may be able to tell from the usual one."""

import json
from contextvars import Context
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import appcontext_pushed
from sqlalchemy import select, update

from api.core import clock, keys, notifications, quotas, receipts
from api.core.db import db, transact
from api.core.errors import Unavailable
from api.core.models import ApiKey, Content, Delivery, Notification, Tag
from api.rest import express
from schemas.vocabulary import Mode, Scope

PATH = "/v1/notifications"
MESSAGE = {"to": "ann@example.org", "subject": "Hello", "text": "Good day.\n"}
WHOLE = {
    "to": ["Ann@Example.org", {"email": "bob@example.org", "name": "Bob, Jr."}],
    "cc": "carl@example.org",
    "bcc": [{"email": "dora@bücher.example"}],
    "reply_to": "desk@example.net",
    "from": {"email": "shop@example.net", "name": "Zoë"},
    "subject": "Ünïcode 🎉",
    "text": "Text",
    "html": "<p>Text</p>",
    "headers": {"X-Order": "7"},
    "tags": ["a", "b", "a"],
    "metadata": {"order": "7", "deep": {"list": [1, 2.5, None, True]}},
    "send_at": "2026-12-01T09:00:00+01:00",
    "expires_at": "2027-01-01T09:00:00Z",
    "attachments": {"filename": "a.txt", "content_type": "text/plain", "content": "aGVsbG8="},
}
TEMPLATED = {
    "to": "ann@example.org",
    "template": "welcome",
    "data": {"user": {"username": "ann", "name": None, "email": "a"}},
}


@pytest.fixture
def taken(app, monkeypatch):
    """Tell how many messages were accepted by the shorter way."""
    count = 0
    real = express._stored

    def counted(*args):
        nonlocal count
        count += 1
        return real(*args)

    monkeypatch.setattr(express, "_stored", counted)
    return lambda: count


@pytest.fixture
def warm(client, monkeypatch):
    """The client, whose key was good a moment ago; it asks outside of the test's context, as a server does."""
    asks = client.open
    monkeypatch.setattr(client, "open", lambda *args, **options: Context().run(asks, *args, **options))
    client.get(PATH)
    return client


@pytest.fixture
def usual(app):
    """Answer without the shorter way from now on."""

    def usual():
        assert isinstance(app.wsgi_app, express.Express)
        app.wsgi_app = app.wsgi_app._usual

    return usual


def steady(answer):
    """Return an answer without what differs from one to the next."""
    text = answer.get_data(as_text=True)
    id_ = answer.json.get("id") if answer.is_json else None
    headers = {name: value for name, value in answer.headers.items() if name not in ("X-Request-Id", "RateLimit")}
    if id_ is None:
        return answer.status, headers, text
    told = json.loads(text.replace(id_, "ID"))
    told["created_at"] = told["deliveries"][0]["next_attempt_at"] = "NOW"
    headers["Location"] = headers["Location"].replace(id_, "ID")
    for one in told["deliveries"]:
        one["next_attempt_at"] = "NOW"
    return answer.status, headers, list(told), told


def stored():
    """Return all that is stored, without ids and times."""
    own = {"id", "notification_id", "created_at", "due_at", "expires_at", "message_id"}

    def plain(model):
        rows = db.session.execute(select(model.__table__)).mappings()
        return [{name: value for name, value in row.items() if name not in own} for row in rows]

    return {model.__name__: plain(model) for model in (Notification, Content, Delivery, Tag)}


@pytest.mark.parametrize("body", [MESSAGE, WHOLE, TEMPLATED], ids=["plain", "whole", "templated"])
def test_both_ways_answer_and_store_the_same(warm, taken, usual, at, body):
    at(minutes=0)
    shorter = steady(warm.post(PATH, json=body))
    rows = stored()
    assert taken() == 1

    usual()
    longer = steady(warm.post(PATH, json=body))
    assert taken() == 1
    assert shorter == longer
    assert all(len(all_of) == 2 * len(rows[name]) for name, all_of in stored().items())
    assert stored() == {name: [*found, *found] for name, found in rows.items()}


@pytest.mark.parametrize("asked_for_again", [False, True])
def test_whatever_is_read_on_the_shorter_way_is_read_without_a_context(warm, app, taken, monkeypatch, asked_for_again):
    pushed = []
    registered = warm.post("/v1/users", json={"username": "ann", "email": "ann@example.org"}).json["id"]
    if asked_for_again:
        monkeypatch.setattr(keys, "KEPT_SECONDS", 0.0)
    with appcontext_pushed.connected_to(lambda _app: pushed.append(1), app):
        answer = warm.post(PATH, json={**MESSAGE, "to": {"user_id": registered}}, headers={"Idempotency-Key": "7"})
    assert (answer.status_code, taken(), pushed) == (202, 1, [])
    assert answer.json["deliveries"][0]["recipient"] == "ann@example.org"


WRONG = {
    "nothing": {},
    "unknown field": {**MESSAGE, "colour": "red"},
    "no address": {**MESSAGE, "to": "nobody"},
    "a user that is not there": {**MESSAGE, "to": {"user_id": "0190a5a0-0000-7000-8000-000000000000"}},
    "a foreign sender": {**MESSAGE, "from": "ceo@bank.example"},
    "an unknown template": {"to": "ann@example.org", "template": "nothing"},
    "missing variables": {"to": "ann@example.org", "template": "welcome"},
    "a past end": {**MESSAGE, "expires_at": "2020-01-01T00:00:00Z"},
    "a simulated mailbox": {**MESSAGE, "to": ["ann@example.org", "failed@simulator.example"]},
    "a list": [MESSAGE],
    "bad base64": {**MESSAGE, "attachments": {"filename": "a", "content_type": "text/plain", "content": "aGVsbG8"}},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_both_ways_refuse_the_same_and_store_nothing(warm, usual, at, nothing_stored, body):
    at(minutes=0)
    with nothing_stored():
        shorter = steady(warm.post(PATH, json=body))
        usual()
        assert shorter == steady(warm.post(PATH, json=body))
    assert shorter[0].startswith(("403", "422"))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Origin", "https://shop.example"),
        ("Content-Encoding", "identity"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Authorization", "bearer {secret}"),
    ],
)
def test_what_is_not_plain_goes_the_usual_way(warm, taken, header, value):
    secret = warm.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    answer = warm.post(
        PATH,
        data=json.dumps(MESSAGE),
        headers={"Content-Type": "application/json", header: value.format(secret=secret)},
    )
    assert (answer.status_code, taken()) == (202, 0)


@pytest.mark.parametrize("shorter_first", [True, False])
def test_a_request_is_given_its_first_answer_again_whichever_way_it_went(warm, app, taken, count, shorter_first):
    name, shorter = {"Idempotency-Key": "order-7"}, app.wsgi_app
    if not shorter_first:
        app.wsgi_app = shorter._usual
    first = warm.post(PATH, json=MESSAGE, headers=name)
    assert (first.status_code, taken()) == (202, int(shorter_first))
    for way in (shorter, shorter._usual):
        app.wsgi_app = way
        again = warm.post(PATH, json=MESSAGE, headers=name)
        assert (again.data, again.headers["Idempotent-Replayed"]) == (first.data, "true")
        assert warm.post(PATH, json={**MESSAGE, "text": "Other.\n"}, headers=name).status_code == 422
        assert warm.post(PATH, json=MESSAGE, headers={"Idempotency-Key": "x" * 256}).status_code == 400
    assert (taken(), count(Notification)) == (int(shorter_first), 1)


def test_a_twin_of_what_is_under_way_is_told_so(warm, app, taken, key_id):
    ticket = receipts.Ticket(key_id, "notifications.send", "order-7", "", lambda _: pytest.fail("is not answered"))
    with receipts.running(ticket):
        answer = warm.post(PATH, json=MESSAGE, headers={"Idempotency-Key": "order-7"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")


@pytest.mark.parametrize("error", [RuntimeError("of ours"), Unavailable("The database is busy.")])
def test_what_goes_wrong_is_answered_as_on_the_usual_way(warm, monkeypatch, caplog, error):
    def fail(**_message):
        raise error

    monkeypatch.setattr(notifications, "post", fail)
    answer = warm.post(PATH, json=MESSAGE)
    assert answer.content_type == "application/problem+json"
    assert answer.status_code == (503 if isinstance(error, Unavailable) else 500)


def test_a_status_token_is_given_on_the_usual_way(warm, taken):
    assert "status_token" in warm.post(PATH, json={**MESSAGE, "status_token": True}).json
    assert taken() == 0


def test_a_body_with_a_query_or_of_a_great_length_goes_the_usual_way(warm, taken):
    assert warm.post(PATH + "?a=1", json=MESSAGE).status_code == 202
    assert warm.post(PATH, json={**MESSAGE, "text": "x" * express.LARGEST}).status_code == 202
    assert taken() == 0


class TestASmallLimit:
    @pytest.fixture
    def settings(self, settings):
        return replace(settings, max_body=1000)

    def test_a_body_that_the_operator_has_not_allowed_is_refused(self, warm, taken):
        assert warm.post(PATH, json={**MESSAGE, "text": "x" * 1000}).status_code == 413
        assert warm.post(PATH, json=MESSAGE).status_code == 202
        assert taken() == 1


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"to": "a@b.example", "to": "c@d.example"}', b"[" * 40])
def test_what_cannot_be_read_is_refused_as_ever(warm, taken, usual, body):
    first = steady(warm.post(PATH, data=body, content_type="application/json"))
    usual()
    assert first == steady(warm.post(PATH, data=body, content_type="application/json"))
    assert first[0].startswith("400")
    assert taken() == 0


def test_a_key_that_nobody_has_used_goes_the_usual_way_and_the_shorter_one_from_then_on(client, taken, monkeypatch):
    assert client.post(PATH, json=MESSAGE).status_code == 202
    assert taken() == 0
    assert client.post(PATH, json=MESSAGE).status_code == 202
    assert taken() == 1
    monkeypatch.setattr(keys, "KEPT_SECONDS", 0.0)  # it is asked for again
    assert client.post(PATH, json=MESSAGE).status_code == 202
    assert taken() == 2


def test_a_key_that_another_process_revoked_is_found_out_when_it_is_asked_for_again(warm, taken, monkeypatch):
    monkeypatch.setattr(keys, "KEPT_SECONDS", 1000.0)
    transact(lambda session: session.execute(update(ApiKey).values(revoked_at=clock.utcnow())))
    assert warm.post(PATH, json=MESSAGE).status_code == 202
    monkeypatch.setattr(keys, "KEPT_SECONDS", 0.0)
    assert warm.post(PATH, json=MESSAGE).status_code == 401
    assert taken() == 1


def test_a_revoked_key_is_refused_at_once_in_its_own_process(client_with, client, taken):
    sending = client_with(Scope.NOTIFICATIONS_WRITE)
    assert sending.post(PATH, json=MESSAGE).status_code == 202
    [id_] = [one["id"] for one in client.get("/v1/keys").json["data"] if one["scopes"] == ["notifications:write"]]
    assert client.delete(f"/v1/keys/{id_}").status_code == 204
    assert sending.post(PATH, json=MESSAGE).status_code == 401
    assert taken() == 0


def test_a_key_without_the_scope_may_not(client_with, taken):
    reading = client_with(Scope.NOTIFICATIONS_READ)
    assert reading.get(PATH).status_code == 200
    assert reading.post(PATH, json=MESSAGE).status_code == 403
    assert taken() == 0


def test_test_mail_stays_test_mail(client_with, taken, app):
    testing = client_with(Scope.ADMIN, mode=Mode.TEST)
    testing.get(PATH)
    assert testing.post(PATH, json=MESSAGE).status_code == 202
    assert taken() == 1
    [delivery] = db.session.scalars(select(Delivery))
    assert delivery.transport == "capture"


def test_another_host_is_refused(warm, taken, nothing_stored):
    with nothing_stored():
        assert warm.post(PATH, json=MESSAGE, headers={"Host": "evil.example"}).status_code == 400
    assert taken() == 0


def test_a_request_counts_once_whichever_way_it_ends(warm, app):
    def left():
        return int(warm.get("/v1/templates").headers["RateLimit"].split("r=")[1].split(";")[0])

    before = left()
    assert warm.post(PATH, json=MESSAGE).status_code == 202
    assert warm.post(PATH, json={**MESSAGE, "from": "ceo@bank.example"}).status_code == 403
    assert warm.post(PATH, json={**MESSAGE, "colour": "red"}).status_code == 422
    assert before - left() == 4


def test_who_asks_too_often_is_told_so(warm, app, key_id, nothing_stored):
    rate = app.extensions["postroom.rate"]
    for _ in range(rate.quota):
        quotas.current().take("default", str(key_id), rate)
    with nothing_stored():
        answer = warm.post(PATH, json=MESSAGE)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "r=0" in answer.headers["RateLimit"]


def test_a_recipient_who_has_had_enough_is_named_once_and_counts_for_nothing(warm, app, taken):
    limit = app.extensions["postroom.policy"].recipient_rate.quota
    for _ in range(limit):
        assert warm.post(PATH, json=MESSAGE).status_code == 202
    answer = warm.post(PATH, json=MESSAGE)
    assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (429, "/to")
    assert db.session.query(Notification).count() == limit


def test_answers_are_counted_as_on_the_usual_way(warm, app, taken):
    assert warm.post(PATH, json=MESSAGE).status_code == 202
    assert taken() == 1
    assert app.extensions["postroom.traffic"]._counted["requests.POST /v1/notifications 202"] == 1


def test_the_clock_of_a_delivery_is_that_of_everybody(warm, at):
    moment = at(hours=2)
    told = warm.post(PATH, json={**MESSAGE, "send_at": (clock.utcnow() + timedelta(hours=1)).isoformat()}).json
    assert told["status"] == "scheduled"
    assert told["created_at"].startswith(moment.isoformat()[:19])


@pytest.fixture
def key_id(warm):
    """The id of the client's key."""
    return db.session.scalars(select(ApiKey.id)).one()
