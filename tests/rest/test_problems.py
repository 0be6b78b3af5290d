"""Every error is a problem, with the headers that belong to it and nothing of the inside."""

import re

import pytest
from sqlalchemy import event, text

from api.core import errors
from api.core.db import db
from api.core.models import Notification, User
from api.rest.problems import STATUS, TITLES
from tests.rest.conftest import MESSAGE, USER, is_problem


def every(kind):
    return [kind, *(below for child in kind.__subclasses__() for below in every(child))]


@pytest.mark.parametrize("kind", every(errors.PostroomError))
def test_every_failure_of_a_use_case_has_a_status_and_a_title(kind):
    assert STATUS[kind] in TITLES


def test_what_is_nowhere_is_404(client, anonymous):
    for path in ("/", "/v2/users", "/favicon.ico", "/docs/../api/app.py", "/docs/nothing.js", "/openapi.yaml"):
        assert is_problem(anonymous.get(path), 404)
    for path in ("/v1", "/v1/", "/v1/nothing", "/v1/users/x/y", "/v1/templates/a/b/c"):
        assert is_problem(client.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/users", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("POST", "/v1/transports", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/v1/keys", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("NONSENSE", "/v1/inbox", {"DELETE", "GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/healthz", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_another_method_is_405_and_told_which_there_are(client, method, path, allowed):
    answer = client.open(path, method=method)

    assert is_problem(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_what_goes_wrong_inside_is_500_without_a_word_about_it(app, client, caplog):
    @app.before_request
    def fail():
        raise RuntimeError("the password is in /etc/secret")

    answer = client.get("/v1/users")

    assert is_problem(answer, 500)
    assert answer.json["detail"] == "Something went wrong here. The request id leads the operator to what."
    assert not re.search(r"RuntimeError|secret|Traceback|\.py|<", answer.text)
    assert "the password is in" in caplog.text


@pytest.mark.sqlite
def test_a_database_that_cannot_be_read_is_503_with_a_time_to_come_back(app, client, tmp_path):
    db.session.remove()
    db.engine.dispose()
    for file in tmp_path.glob("postroom.db*"):
        file.write_bytes(b"no database at all, " * 1000)

    for path in ("/v1/users", "/v1/notifications", "/v1/transports"):
        answer = client.get(path)
        assert is_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        assert "sqlite" not in answer.text.lower()
        assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("table", ["deliveries", "contents"])
def test_what_cannot_be_stored_is_503_and_not_half_stored(client, count, table):
    with db.engine.connect() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO lost"))

    for path, body in (("/v1/users", USER), ("/v1/notifications", MESSAGE)):
        answer = client.post(path, json=body)
        assert is_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    assert count(User) == count(Notification) == 0


@pytest.mark.sqlite
def test_a_full_disk_is_503_and_leaves_nothing(app, client, nothing_stored):
    with db.engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
    db.engine.dispose()
    event.listen(db.engine, "connect", lambda raw, _record: raw.execute(f"PRAGMA max_page_count={pages}"))

    with nothing_stored():
        answer = client.post("/v1/notifications", json={**MESSAGE, "text": "x" * 400_000})

        assert is_problem(answer, 503)
    assert client.get("/v1/notifications").status_code == 200


@pytest.mark.parametrize("path", ["/v1/<script>alert(1)</script>", "//evil.example/v1", "/v1/ü\u2028", "/v1/%ff%00"])
def test_an_odd_path_comes_back_as_a_harmless_reference(client, path):
    answer = client.get(path)

    assert answer.status_code in (400, 404)
    assert re.fullmatch(r"/[A-Za-z0-9/._~!$&'()*+,;=:@%-]*", answer.json["instance"])
    assert not answer.json["instance"].startswith("//")


def test_a_problem_with_a_prefix_in_the_public_url_names_the_outer_path(app, client):
    app.extensions["postroom.public_url"] = "http://localhost/post"

    assert client.get("/v1/nothing").json["instance"] == "/post/v1/nothing"
