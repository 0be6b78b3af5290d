"""A message with everything the API knows, and who may read about it."""

import base64
import re
from datetime import timedelta
from uuid import UUID

import pytest

from api.core import clock, contents
from api.core.db import db
from schemas.vocabulary import DeliveryStatus, NotificationStatus, Scope
from tests.rest.conftest import MESSAGE, USER, is_problem

PDF = base64.b64encode(b"%PDF-1.7\n").decode()


@pytest.fixture
def everything(client):
    """A body that uses every field at once."""
    user = client.post("/v1/users", json=USER).json
    start = clock.utcnow() + timedelta(days=1)
    return {
        "to": ["eve@example.org", {"email": "bob@example.org", "name": "Bob, Jr."}, {"user_id": user["id"]}],
        "cc": {"email": "cc@example.org"},
        "bcc": "bcc@example.org",
        "reply_to": ["reply@example.org"],
        "from": {"email": "shop@example.net", "name": "The Shop"},
        "template": "welcome",
        "data": {"user": {"username": "ann", "name": "Ann", "email": "ann@example.org"}},
        "locale": "en",
        "subject": "Instead of the template's",
        "attachments": [{"filename": "a.pdf", "content_type": "application/pdf", "content": PDF, "content_id": "logo"}],
        "headers": {"X-Order": "7"},
        "tags": ["orders"],
        "metadata": {"order": "7"},
        "send_at": start.isoformat(),
        "expires_at": (start + timedelta(days=1)).isoformat(),
        "status_token": True,
    }


def test_every_field_at_once_is_taken_and_told(client, everything):
    answer = client.post("/v1/notifications", json=everything)

    assert answer.status_code == 202, answer.text
    status = answer.json
    assert status["status"] == "scheduled"
    assert status["subject"] == "[Postroom] Instead of the template's"
    assert status["template"]["name"] == "welcome"
    assert (status["tags"], status["metadata"]) == (["orders"], {"order": "7"})
    assert {one["recipient"]: one["kind"] for one in status["deliveries"]} == {
        "eve@example.org": "to",
        "bob@example.org": "to",
        "ann@example.org": "to",
        "cc@example.org": "cc",
        "bcc@example.org": "bcc",
    }
    for name in ("created_at", "send_at", "expires_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", status[name])
    content = contents.load(db.session(), [UUID(status["id"])])[UUID(status["id"])]
    assert (content.sender.email, content.sender.name) == ("shop@example.net", "The Shop")
    assert [one.email for one in content.reply_to] == ["reply@example.org"]
    assert content.headers == (("X-Order", "7"),)
    assert [(one.filename, one.content_id) for one in content.attachments] == [("a.pdf", "logo")]


def test_the_status_resource_has_every_field_that_clients_rely_on(client, everything):
    status = client.get(client.post("/v1/notifications", json=everything).json["url"]).json

    assert status.keys() >= {
        *("id", "url", "status", "created_at", "send_at", "expires_at", "finished_at", "subject", "template"),
        *("tags", "metadata", "batch_id", "message_id", "deliveries"),
    }
    assert status["deliveries"][0].keys() >= {
        *("recipient", "kind", "status", "attempts", "next_attempt_at", "possible_duplicate", "history"),
    }


def test_the_words_for_a_status_are_these_and_delivered_is_none_of_them():
    words = {"queued", "sending", "deferred", "sent", "failed", "cancelled", "expired", "suppressed"}

    assert set(DeliveryStatus) == words
    assert set(NotificationStatus) == words | {"scheduled", "partial"}


def test_every_live_key_sees_all_live_mail(client, client_with, send):
    other = client_with(Scope.NOTIFICATIONS_READ)
    status = send()

    assert other.get(status["url"]).json["id"] == status["id"]
    assert [one["id"] for one in other.get("/v1/notifications").json["data"]] == [status["id"]]


class TestTheStatusToken:
    @pytest.fixture
    def sent(self, client):
        return client.post("/v1/notifications", json={**MESSAGE, "status_token": True}).json

    def test_it_opens_its_own_notification_without_a_key(self, anonymous, sent):
        answer = anonymous.get(f"/v1/notifications/{sent['id']}?token={sent['status_token']}")

        assert answer.status_code == 200
        assert answer.json["id"] == sent["id"]
        events = anonymous.get(
            f"/v1/notifications/{sent['id']}/events?token={sent['status_token']}", headers={"Accept": "text/html"}
        )
        assert is_problem(events, 406)

    def test_it_opens_nothing_else(self, anonymous, client, send, sent):
        other, token = send(), sent["status_token"]
        for method, path in (
            ("GET", f"/v1/notifications/{other['id']}"),
            ("GET", "/v1/notifications"),
            ("GET", f"/v1/notifications/{sent['id']}/content"),
            ("POST", f"/v1/notifications/{sent['id']}/cancel"),
            ("PATCH", f"/v1/notifications/{sent['id']}"),
            ("GET", "/v1/users"),
        ):
            assert is_problem(anonymous.open(path, method=method, query_string={"token": token}), 401), (method, path)
        bearer = {"Authorization": f"Bearer {token}"}
        assert is_problem(anonymous.get(f"/v1/notifications/{sent['id']}", headers=bearer), 401)

    def test_it_is_good_for_a_day(self, anonymous, sent, at):
        path = f"/v1/notifications/{sent['id']}?token={sent['status_token']}"
        at(hours=23, minutes=59)
        assert anonymous.get(path).status_code == 200
        at(hours=24, minutes=1)
        assert is_problem(anonymous.get(path), 401)

    def test_an_altered_one_is_none(self, anonymous, sent):
        token = sent["status_token"]
        for wrong in ("", token[:-1], token[:-1] + ("A" if token[-1] != "A" else "B"), token + "A", "A" * len(token)):
            answer = anonymous.get(f"/v1/notifications/{sent['id']}", query_string={"token": wrong})
            assert is_problem(answer, 401), wrong

    def test_nobody_gets_one_unasked(self, send):
        assert "status_token" not in send()
