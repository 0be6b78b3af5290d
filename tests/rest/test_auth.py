"""Default deny: no key no answer, and all bad keys look alike."""

import itertools
import re
from uuid import uuid4

import pytest
from sqlalchemy import event

from api.core import keys
from api.core.db import db
from api.rest.auth import PUBLIC
from schemas.vocabulary import Mode, Scope
from tests.rest.conftest import MESSAGE, USER, is_problem

OPEN_PATHS = {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/<name>"}


def operations(app):
    """Yield method, path and endpoint of everything that is routed."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<uuid:\w+>", str(uuid4()), rule.rule)
        path = re.sub(r"<\w+>", "name", path)
        for method in sorted(rule.methods):
            yield method, path, rule.endpoint


def test_only_the_listed_paths_answer_without_a_key(app):
    assert {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint in PUBLIC} == OPEN_PATHS


def test_every_other_route_refuses_whoever_has_no_key(app, anonymous):
    tried = 0
    for method, path, endpoint in operations(app):
        if endpoint not in PUBLIC:
            answer = anonymous.open(path, method=method)
            assert answer.status_code == 401, (method, path)
            tried += 1
    assert tried > 40


def test_every_other_route_refuses_a_key_without_any_scope(app, client_with):
    client = client_with()
    for method, path, endpoint in operations(app):
        if endpoint not in PUBLIC and method != "OPTIONS":
            assert client.open(path, method=method).status_code == 403, (method, path)


def test_a_route_that_says_no_scope_is_closed_even_to_admins(app, client):
    app.add_url_rule("/v1/forgotten", view_func=lambda: "secret")

    assert is_problem(client.get("/v1/forgotten"), 403)


def test_what_is_unknown_under_v1_tells_nothing_to_whoever_has_no_key(anonymous):
    for path in ("/v1", "/v1/", "/v1/nothing", "/v1//users", "/v1/users/1/2/3"):
        assert is_problem(anonymous.get(path), 401)


def bad_identities(good, revoked):
    typo = good[:-1] + ("A" if good[-1] != "A" else "B")
    return [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        [good],
        [f"Basic {good}"],
        [f"Token {good}"],
        [f"Bearer {typo}"],
        [f"Bearer {good.upper()}"],
        [f"Bearer {good} {good}"],
        [f"Bearer {good},"],
        [f"Bearer {good}\u00e9"],
        [f"Bearer {revoked}"],
        ["Bearer pr_live_" + "x" * 36],
        ["Bearer " + "x" * 100_000],
        [f"Bearer {good}", f"Bearer {good}"],
        [f"Bearer {good}", "Bearer x"],
        ["Basic eDp5", f"Bearer {good}"],
    ]


def test_all_bad_keys_get_the_same_answer_for_the_same_work(app, anonymous):
    _, good = keys.create(name="good", scopes=[Scope.ADMIN])
    key, revoked = keys.create(name="revoked", scopes=[Scope.ADMIN])
    keys.revoke(key.id)
    statements = []
    event.listen(db.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))

    answers = []
    for headers in bad_identities(good, revoked):
        statements.clear()
        answer = anonymous.get("/v1/users", headers=[("Authorization", value) for value in headers])
        assert is_problem(answer, 401), headers
        told = {name: value for name, value in answer.headers.items() if name != "X-Request-Id"}
        answers.append((answer.json, told, list(statements)))

    assert answers[0][1]["WWW-Authenticate"] == 'Bearer realm="postroom"'
    assert len(answers[0][2]) == 1
    assert all(one == answers[0] for one in answers)


def test_a_key_in_the_query_string_is_no_key(anonymous):
    _, secret = keys.create(name="good", scopes=[Scope.ADMIN])

    for name in ("key", "token", "access_token", "api_key", "authorization"):
        assert is_problem(anonymous.get("/v1/users", query_string={name: secret}), 401)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(anonymous, scheme):
    _, secret = keys.create(name="good", scopes=[Scope.ADMIN])

    assert anonymous.get("/v1/users", headers={"Authorization": f"{scheme}  {secret}"}).status_code == 200


def test_a_key_that_was_revoked_is_refused_from_then_on(client, anonymous):
    made = client.post("/v1/keys", json={"name": "shop", "scopes": ["users:read"]}).json
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert anonymous.get("/v1/users", headers=headers).status_code == 200

    client.delete(f"/v1/keys/{made['id']}")

    assert is_problem(anonymous.get("/v1/users", headers=headers), 401)


NEEDED = [
    ("POST", "/v1/users", Scope.USERS_WRITE),
    ("GET", "/v1/users", Scope.USERS_READ),
    ("GET", "/v1/users/{id}", Scope.USERS_READ),
    ("PATCH", "/v1/users/{id}", Scope.USERS_WRITE),
    ("DELETE", "/v1/users/{id}", Scope.USERS_WRITE),
    ("POST", "/v1/notifications", Scope.NOTIFICATIONS_WRITE),
    ("GET", "/v1/notifications", Scope.NOTIFICATIONS_READ),
    ("GET", "/v1/notifications/{id}", Scope.NOTIFICATIONS_READ),
    ("GET", "/v1/templates", Scope.TEMPLATES_READ),
    ("GET", "/v1/templates/welcome", Scope.TEMPLATES_READ),
    ("POST", "/v1/templates/welcome/preview", Scope.TEMPLATES_READ),
    ("GET", "/v1/inbox", Scope.NOTIFICATIONS_READ),
    ("GET", "/v1/inbox/{id}", Scope.NOTIFICATIONS_READ),
    ("DELETE", "/v1/inbox", Scope.NOTIFICATIONS_WRITE),
    ("POST", "/v1/keys", Scope.ADMIN),
    ("GET", "/v1/keys", Scope.ADMIN),
    ("DELETE", "/v1/keys/{id}", Scope.ADMIN),
    ("GET", "/v1/transports", Scope.ADMIN),
]


def test_each_operation_takes_its_own_scope_and_admin_and_no_other(client_with):
    clients = {scope: client_with(scope) for scope in Scope}
    for (method, path, needed), scope in itertools.product(NEEDED, Scope):
        answer = clients[scope].open(path.format(id=uuid4()), method=method, json={})
        if scope in (needed, Scope.ADMIN):
            assert answer.status_code not in (401, 403), (method, path, scope)
        else:
            assert is_problem(answer, 403)
            assert f"'{needed}'" in answer.json["detail"]


def test_the_scope_is_asked_for_before_the_body_is_read(client_with, nothing_stored):
    client = client_with(Scope.USERS_READ)
    with nothing_stored():
        answer = client.post("/v1/users", data=b"\xff", content_type="text/plain")

        assert is_problem(answer, 403)


def test_neither_mode_sees_the_others_resources(client, test_client):
    user = client.post("/v1/users", json=USER).json["id"]
    notification = client.post("/v1/notifications", json=MESSAGE).json["id"]

    for method, path in [
        ("GET", f"/v1/users/{user}"),
        ("DELETE", f"/v1/users/{user}"),
        ("GET", f"/v1/notifications/{notification}"),
    ]:
        assert is_problem(test_client.open(path, method=method), 404)
    patched = test_client.patch(f"/v1/users/{user}", json={"name": "x"}, headers={"If-Match": "*"})
    assert is_problem(patched, 404)
    assert test_client.get("/v1/users").json["data"] == []
    assert test_client.get("/v1/notifications").json["data"] == []
    assert test_client.post("/v1/users", json=USER).status_code == 202


def test_a_test_key_cannot_make_a_live_one(test_client, client, nothing_stored):
    body = {"name": "escape", "scopes": ["admin"]}
    with nothing_stored():
        assert is_problem(test_client.post("/v1/keys", json={**body, "mode": "live"}), 403)
    assert test_client.post("/v1/keys", json=body).json["mode"] == Mode.TEST
    assert client.post("/v1/keys", json=body).json["mode"] == Mode.LIVE
    assert client.post("/v1/keys", json={**body, "mode": "test"}).json["key"].startswith("pr_test_")
