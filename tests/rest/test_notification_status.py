"""GET /v1/notifications/{id}: the truth about each recipient, with an ETag."""

from uuid import uuid4

from sqlalchemy import update

from api.core.db import transact
from api.core.models import Notification
from tests.conftest import GREYLISTED, LOST, REFUSED, SENT
from tests.rest.conftest import is_problem


def test_an_unknown_notification_is_404(client):
    assert is_problem(client.get(f"/v1/notifications/{uuid4()}"), 404)


def test_it_tells_each_attempt_and_what_the_relay_said(client, send, claim, settle, at):
    status = send()
    settle(claim()[0], GREYLISTED)

    found = client.get(status["url"])

    [delivery] = found.json["deliveries"]
    assert found.json["status"] == delivery["status"] == "deferred"
    assert delivery["attempts"] == 1
    [attempt] = delivery["history"]
    assert attempt.pop("at").endswith("Z")
    assert attempt == {
        "transport": "default",
        "outcome": "deferred",
        "phase": "rcpt",
        "code": 450,
        "enhanced_code": "4.2.0",
        "reply": "greylisted",
        "duration_ms": 3,
    }
    assert delivery["next_attempt_at"] > found.json["created_at"]
    assert 2 <= int(found.headers["Retry-After"]) <= 60


def test_what_is_finished_is_waited_for_no_more(client, send, claim, settle):
    status = send()
    settle(claim()[0], SENT)

    found = client.get(status["url"])

    assert found.json["status"] == "sent"
    assert found.json["finished_at"] is not None
    assert found.json["deliveries"][0]["next_attempt_at"] is None
    assert "Retry-After" not in found.headers


def test_recipients_that_end_differently_make_it_partial(client, send, claim, settle):
    status = send(to=["ann@example.org", "bob@example.org"])
    for held, result in zip(claim(), (SENT, REFUSED), strict=True):
        settle(held, result)

    assert client.get(status["url"]).json["status"] == "partial"


def test_a_possible_duplicate_is_owned_up_to(client, send, claim, settle):
    status = send()
    settle(claim()[0], LOST)

    assert client.get(status["url"]).json["deliveries"][0]["possible_duplicate"] is True


def test_what_is_being_sent_has_no_next_attempt(client, send, claim):
    status = send()
    claim()

    [delivery] = client.get(status["url"]).json["deliveries"]
    assert (delivery["status"], delivery["next_attempt_at"]) == ("sending", None)


def test_the_etag_changes_with_the_status_and_with_nothing_else(client, send, claim, settle):
    status = send()
    first = client.get(status["url"])
    tag = first.headers["ETag"]
    assert tag.startswith('"')

    again = client.get(status["url"], headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == tag
    assert "Retry-After" in again.headers

    settle(claim()[0], SENT)
    changed = client.get(status["url"], headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def test_a_purged_message_says_so(client, send):
    status = send()
    transact(lambda session: session.execute(update(Notification).values(subject=None)))

    assert client.get(status["url"]).json["subject"] is None
