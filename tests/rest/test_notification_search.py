"""GET /v1/notifications: finding them by what they are and how they stand."""

from datetime import timedelta

from api.core import clock
from schemas.vocabulary import Scope
from tests.conftest import SENT

ANN = {"user": {"username": "ann", "name": "Ann", "email": "ann@example.org"}}


def found(client, **query):
    answer = client.get("/v1/notifications", query_string=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json["data"]]


def test_newest_comes_first(client, send):
    sent = [send()["id"] for _ in range(3)]

    assert found(client) == sent[::-1]


def test_by_recipient_in_any_case_and_kind(client, send):
    send()
    wanted = send(to="bob@example.org", bcc="Eve@example.org")["id"]

    assert found(client, recipient="BOB@example.org") == [wanted]
    assert found(client, recipient="eve@example.org") == [wanted]
    assert found(client, recipient="nobody@example.org") == []


def test_by_tag_and_template_together(client, send):
    send(tags=["a", "b"])
    templated = {"to": "ann@example.org", "template": "welcome", "data": ANN, "tags": ["a"]}
    wanted = client.post("/v1/notifications", json=templated).json["id"]

    assert found(client, tag="a", template="welcome") == [wanted]
    assert found(client, tag="b", template="welcome") == []
    assert len(found(client, tag="a")) == 2


def test_by_status(client, send, claim, settle):
    first, second = send()["id"], send()["id"]
    settle(claim(limit=1)[0], SENT)

    assert found(client, status="sent") == [first]
    assert found(client, status="queued") == [second]
    assert found(client, status="failed") == []


def test_by_time_of_creation(client, send, at):
    first = send()
    at(minutes=5)
    second = send()
    between = (clock.utcnow() - timedelta(minutes=1)).isoformat().replace("+00:00", "Z")

    assert found(client, since=between) == [second["id"]]
    assert found(client, until=between) == [first["id"]]
    assert found(client, since=first["created_at"], until="9999-12-31T23:59:59+02:00") == [
        second["id"],
        first["id"],
    ]


def test_the_filters_of_a_page_go_on_to_the_next(client, send):
    wanted = [send(tags=["a b&c"])["id"] for _ in range(3)]
    send()

    page = client.get("/v1/notifications", query_string={"tag": "a b&c", "limit": 2})
    link = page.headers["Link"]
    second = client.get(link[link.index("<") + 1 : link.index(">")])

    assert [one["id"] for one in page.json["data"] + second.json["data"]] == wanted[::-1]
    assert "Link" not in second.headers


def test_one_finds_what_one_may_only_read(client, client_with, send):
    wanted = send()["id"]

    assert found(client_with(Scope.NOTIFICATIONS_READ)) == [wanted]
