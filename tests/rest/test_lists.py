"""Lists: newest first, by cursor, with a Link to the next page."""

import re

import pytest

from api.core import inbox
from schemas.vocabulary import Mode
from tests.rest.conftest import MESSAGE


def add_user(client, number):
    client.post("/v1/users", json={"username": f"u{number}", "email": f"u{number}@example.org"})


def add_notification(client, number):
    client.post("/v1/notifications", json={**MESSAGE, "subject": str(number)})


def add_key(client, number):
    client.post("/v1/keys", json={"name": str(number), "scopes": ["admin"]})


def add_mail(_client, number):
    inbox.capture(
        mode=Mode.LIVE, sender="a@example.org", recipients=["b@example.org"], raw=f"Subject: {number}\r\n\r\n".encode()
    )


LISTS = [
    ("/v1/users", add_user),
    ("/v1/notifications", add_notification),
    ("/v1/keys", add_key),
    ("/v1/inbox", add_mail),
]


@pytest.mark.parametrize(("path", "add"), LISTS, ids=[path for path, _ in LISTS])
def test_a_list_is_walked_by_its_links_without_a_gap_or_a_double(client, path, add):
    for number in range(5):
        add(client, number)
    whole = client.get(path, query_string={"limit": 100}).json
    assert whole["next"] is None
    ids = [one["id"] for one in whole["data"]]
    assert ids == sorted(ids, reverse=True)

    walked = []
    url: str | None = f"{path}?limit=2"
    while url:
        page = client.get(url)
        assert len(page.json["data"]) <= 2
        walked += [one["id"] for one in page.json["data"]]
        link = re.fullmatch(r'<(http://127\.0\.0\.1:8000/[^>]+)>; rel="next"', page.headers.get("Link", ""))
        assert bool(link) == (page.json["next"] is not None)
        assert not link or page.json["next"] in link[1]
        url = link and link[1]

    assert walked == ids


@pytest.mark.parametrize(("path", "add"), LISTS, ids=[path for path, _ in LISTS])
def test_what_is_added_meanwhile_shifts_no_page(client, path, add):
    for number in range(3):
        add(client, number)
    first = client.get(f"{path}?limit=1").json
    add(client, 99)

    second = client.get(path, query_string={"limit": 1, "after": first["next"]}).json

    assert second["data"][0]["id"] < first["data"][0]["id"]


def test_fifty_come_on_a_page_unless_asked_otherwise(client):
    for number in range(51):
        add_mail(client, number)

    assert len(client.get("/v1/inbox").json["data"]) == 50
    assert len(client.get("/v1/inbox?limit=100").json["data"]) == 51
