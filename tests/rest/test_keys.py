"""/v1/keys, sentence by sentence of the contract."""

import re
from uuid import uuid4

from api.core.db import db
from api.core.models import ApiKey
from schemas.vocabulary import Scope
from tests.rest.conftest import is_problem

BODY = {"name": "shop", "scopes": ["users:write", "users:read", "users:write"]}


def test_a_key_is_made_and_its_secret_told_once(client):
    made = client.post("/v1/keys", json=BODY)

    assert made.status_code == 201
    assert made.json["name"] == "shop"
    assert made.json["scopes"] == ["users:read", "users:write"]
    assert made.json["mode"] == "live"
    assert made.json["revoked_at"] is None
    assert re.fullmatch(r"pr_live_[0-9A-Za-z]{36}", made.json["key"])
    assert made.json["hint"] == made.json["key"][-4:]
    listed = client.get("/v1/keys")
    assert made.json["key"] not in listed.text
    assert {name: value for name, value in made.json.items() if name != "key"} == listed.json["data"][0]


def test_the_secret_is_nowhere_in_the_database(client):
    secret = client.post("/v1/keys", json=BODY).json["key"]

    rows = [vars(row) for row in db.session.query(ApiKey)]
    assert secret not in str(rows)
    assert secret[8:38] not in str(rows)


def test_a_made_key_does_what_its_scopes_say(app, client, anonymous):
    secret = client.post("/v1/keys", json=BODY).json["key"]
    headers = {"Authorization": f"Bearer {secret}"}

    assert anonymous.get("/v1/users", headers=headers).status_code == 200
    assert is_problem(anonymous.get("/v1/keys", headers=headers), 403)


def test_every_scope_can_be_given(client):
    made = client.post("/v1/keys", json={"name": "all", "scopes": list(Scope)})

    assert made.json["scopes"] == sorted(Scope)


def test_a_revoked_key_stays_listed_and_revoking_again_is_harmless(client):
    made = client.post("/v1/keys", json=BODY).json

    assert client.delete(f"/v1/keys/{made['id']}").status_code == 204
    first = client.get("/v1/keys").json["data"][0]["revoked_at"]
    assert first is not None
    assert client.delete(f"/v1/keys/{made['id']}").status_code == 204
    assert client.get("/v1/keys").json["data"][0]["revoked_at"] == first


def test_an_unknown_key_is_404(client):
    assert is_problem(client.delete(f"/v1/keys/{uuid4()}"), 404)
