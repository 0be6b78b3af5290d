"""Servers that die over a request: what was not answered is stored whole, or not at all."""

from collections import Counter
from http.client import HTTPException

import pytest

REQUESTS = [
    pytest.param(
        "/v1/notifications", {"to": ["ann@example.org", "bob@example.org"], "subject": "Hello", "text": "x"}, id="mail"
    ),
    pytest.param("/v1/users", {"username": "ann", "email": "ann@example.org"}, id="user"),
]


def is_unanswered(server, path: str, body: object) -> bool:
    try:
        server.post(path, body)
    except (OSError, HTTPException):
        return True
    return False


def rows(server) -> tuple[int, int]:
    """Return how many users and how many deliveries there are."""
    notifications = server.get("/v1/notifications").body["data"]
    return len(server.get("/v1/users").body["data"]), sum(len(one["deliveries"]) for one in notifications)


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_a_crash_before_the_commit_leaves_nothing_and_the_request_can_be_made_again(scene, relay, path, body):
    scene = scene(0)
    # The rows have gone to the database by the driver's own statements, or, on PostgreSQL, by SQLAlchemy's.
    points = ["--kill", "api.core.rows:write:after:1", "--kill", "api.core.rows:insert:after:1"]
    server = scene.start("serve", options=points, POSTROOM_ADMIN="admin@example.org")

    assert is_unanswered(server, path, body)
    server.wait_until_up("/readyz")
    assert rows(server) == (0, 0)
    assert scene.store.flaws() == []

    assert server.post(path, body).status == 202
    scene.until(lambda: scene.store.unfinished() == 0)
    assert len(relay.messages()) == 2


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_a_crash_after_the_commit_loses_the_answer_and_sends_everything_once(scene, relay, path, body):
    scene = scene(0)
    point = "api.core.notifications:nudge:before:1"
    server = scene.start("serve", options=["--kill", point], POSTROOM_ADMIN="admin@example.org")

    assert is_unanswered(server, path, body)
    server.wait_until_up("/readyz")
    assert rows(server) == (path == "/v1/users", 2)

    scene.until(lambda: scene.store.unfinished() == 0)
    assert set(Counter(each for message in relay.messages() for each in message.recipients).values()) == {1}
    assert len(relay.messages()) == 2
    assert scene.store.flaws() == []
