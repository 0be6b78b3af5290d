"""API keys: form, digest, scopes, revocation."""

import re

import pytest
from sqlalchemy import update

from api.core import clock, keys
from api.core.db import db, transact
from api.core.errors import NotFound
from api.core.models import ApiKey
from schemas.vocabulary import Mode, Scope


@pytest.mark.parametrize(("mode", "prefix"), [(Mode.LIVE, "pr_live_"), (Mode.TEST, "pr_test_")])
def test_a_key_has_the_form_that_scanners_look_for(app, mode, prefix):
    key, secret = keys.create(name="app", scopes=[Scope.USERS_WRITE], mode=mode)

    assert re.fullmatch(prefix + "[0-9A-Za-z]{36}", secret)
    assert keys.well_formed(secret)
    known = keys.authenticate(secret)
    assert known is not None
    assert known.id == key.id


def test_only_a_digest_is_stored(app):
    _, secret = keys.create(name="app", scopes=[Scope.ADMIN])

    stored = db.session.execute(ApiKey.__table__.select()).mappings().one()
    assert all(secret not in str(value) for value in stored.values())
    assert all(secret[8:-4] not in str(value) for value in stored.values())
    assert stored["hint"] == secret[-4:]


def test_a_typing_error_is_caught_by_the_checksum(app):
    _, secret = keys.create(name="app", scopes=[Scope.ADMIN])
    for position in range(len("pr_live_"), len(secret)):
        wrong = secret[:position] + ("x" if secret[position] != "x" else "y") + secret[position + 1 :]
        assert not keys.well_formed(wrong)
        assert keys.authenticate(wrong) is None


@pytest.mark.parametrize("bad", ["", "pr_live_", "Bearer", "\ud800", "pr_prod_" + "a" * 36, "pr_live_" + "a" * 36])
def test_anything_else_is_no_key(app, bad):
    assert keys.authenticate(bad) is None


def test_a_revoked_key_is_no_key(app):
    key, secret = keys.create(name="app", scopes=[Scope.ADMIN])

    keys.revoke(key.id)

    assert keys.authenticate(secret) is None
    with pytest.raises(NotFound):
        keys.revoke(type(key.id)(int=1))


def test_a_known_secret_is_adopted_once(app, count):
    _, secret = keys.create(name="app", scopes=[Scope.ADMIN])

    keys.adopt(secret, name="again", scopes=[Scope.ADMIN])

    assert count(ApiKey) == 1
    with pytest.raises(ValueError, match="malformed"):
        keys.adopt("pr_live_" + "a" * 36, name="made up", scopes=[Scope.ADMIN])


def test_a_test_key_sees_and_revokes_only_its_like(app):
    live, secret = keys.create(name="live", scopes=[Scope.ADMIN])
    test, _ = keys.create(name="test", scopes=[Scope.ADMIN], mode=Mode.TEST)

    assert [key.id for key in keys.search(limit=10, key=test).data] == [test.id]
    assert {key.id for key in keys.search(limit=10, key=live).data} == {live.id, test.id}
    with pytest.raises(NotFound):
        keys.revoke(live.id, key=test)
    assert keys.authenticate(secret) is not None


def test_one_asks_for_a_remembered_key_again_while_the_others_go_by_what_is_remembered(app, monkeypatch):
    key, secret = keys.create(name="shop", scopes=[Scope.ADMIN])
    assert keys.recall(secret) is None
    keys.authenticate(secret)
    asked = []

    def look_up(given, digest):
        asked.append(keys.recall(secret))  # what others are told meanwhile
        return look_up_really(given, digest)

    look_up_really = keys._look_up
    monkeypatch.setattr(keys, "_look_up", look_up)
    monkeypatch.setattr(keys, "KEPT_SECONDS", 1000.0)
    monkeypatch.setattr(keys, "LONGEST_KEPT", 1000.0)
    assert keys.recall(secret) is not None
    assert asked == []
    monkeypatch.setattr(keys, "KEPT_SECONDS", 0.0)
    found = keys.recall(secret)
    assert found is not None
    assert [one and one.id for one in asked] == [key.id] == [found.id]


def test_nobody_goes_by_what_was_remembered_for_too_long(app, monkeypatch):
    _, secret = keys.create(name="shop", scopes=[Scope.ADMIN])
    keys.authenticate(secret)
    assert keys.LONGEST_KEPT < 1
    transact(lambda session: session.execute(update(ApiKey).values(revoked_at=clock.utcnow())))
    monkeypatch.setattr(keys, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(keys, "LONGEST_KEPT", 0.0)
    with app.app_context():  # as another request
        assert keys.recall(secret) is None
        assert keys.authenticate(secret) is None
