"""The answer to a POST is made without asking the table: it must be what the table would have said."""

import sqlite3
import time

import pytest

from api.core import keys
from schemas.vocabulary import Scope
from tests.rest.conftest import MESSAGE

WELCOME = {"template": "welcome", "data": {"user": {"username": "ann", "name": "Ann", "email": "ann@example.org"}}}


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE,
        {"to": "ann@example.org", **WELCOME},
        {**MESSAGE, "cc": ["BOB@Example.NET", "carl@example.org"], "bcc": "dora@example.org"},
        {**MESSAGE, "send_at": "2026-11-30T09:00:00.123456+02:00", "expires_at": "2099-01-02T09:00:00Z"},
        {**MESSAGE, "send_at": "2020-01-01T00:00:00Z"},
        {**MESSAGE, "tags": ["é", "b", "é"], "metadata": {"é": [1, 2.5, None, {"x": True}], "🙂": "</script>"}},
        {**MESSAGE, "subject": "Grüße 🙂", "text": "a\r\nb"},
    ],
    ids=["plain", "template", "recipients", "times", "past", "tags", "unicode"],
)
def test_the_answer_is_the_status_resource_as_it_is_read_afterwards(client, message, monkeypatch):
    if message.get("expires_at"):
        message = {**message, "expires_at": _in_days(30), "send_at": _in_days(3)}
    answer = client.post("/v1/notifications", json=message)
    assert answer.status_code == 202, answer.text
    later = client.get(answer.json["url"])
    assert answer.json == later.json
    assert list(answer.json) == list(later.json)
    assert answer.headers["Location"] == answer.json["url"]
    assert answer.headers["Retry-After"] == later.headers["Retry-After"]
    assert answer.content_type == "application/json"
    assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_a_key_that_another_process_revokes_is_of_no_use_within_a_second(app, client_with, tmp_path):
    client = client_with(Scope.NOTIFICATIONS_READ)
    assert client.get("/v1/notifications").status_code == 200
    with sqlite3.connect(tmp_path / "postroom.db") as elsewhere:
        elsewhere.execute("UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00.000000'")
    elsewhere.close()
    time.sleep(keys.KEPT_SECONDS)
    assert client.get("/v1/notifications").status_code == 401
    assert keys.KEPT_SECONDS < 1


def test_a_key_that_is_revoked_here_is_of_no_use_at_once(client, client_with):
    other = client_with(Scope.NOTIFICATIONS_READ)
    assert other.get("/v1/notifications").status_code == 200
    [mine, *_] = client.get("/v1/keys").json["data"]
    assert client.delete(f"/v1/keys/{mine['id']}").status_code == 204
    assert other.get("/v1/notifications").status_code == 401


def test_no_cookie_is_read_or_set(client):
    client.set_cookie("session", "eyJhIjoxfQ.Z.x")
    answer = client.post("/v1/notifications", json=MESSAGE)
    assert "Set-Cookie" not in answer.headers
    assert "Cookie" not in answer.headers.get("Vary", "")


def test_a_user_erased_while_mail_to_them_is_accepted_is_told_like_one_who_never_was(client, app, monkeypatch):
    user = client.post("/v1/users", json={"username": "ann", "email": "ann@example.org"}).json
    from api.core import drafts, notifications  # noqa: PLC0415 -- patched below, where the race can be had

    def make(**message):
        draft = drafts.make(**message)
        assert client.delete(f"/v1/users/{user['id']}").status_code == 204
        return draft

    monkeypatch.setattr(notifications, "drafts", type("Racing", (), {"make": staticmethod(make)}))
    answer = client.post("/v1/notifications", json={**MESSAGE, "to": {"user_id": user["id"]}})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["code"] == "unknown_user"


def _in_days(days):
    return time.strftime("%Y-%m-%dT%H:%M:%S.123456Z", time.gmtime(time.time() + days * 86400))
