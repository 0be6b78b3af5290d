import stat

import pytest

from api import config, development
from api.core import keys
from api.core.addresses import parse
from api.core.db import db
from schemas.vocabulary import Mode, Scope
from tests.commandline import busy_port, refusal, stored


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Commands run in an empty directory of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def app(folder):
    """The app on the database of that directory, in its context."""
    with stored() as app:
        yield app


def test_the_development_key_is_private_and_stays_the_same(app, folder):
    secret = development.key()
    path = folder / "var" / "development-key"
    assert path.read_text().strip() == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert development.key() == secret
    key = keys.authenticate(secret)
    assert key is not None
    assert (key.mode, set(key.scopes)) == (Mode.LIVE, set(Scope))


def test_the_development_key_outlives_its_database(app):
    secret = development.key()
    with db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM api_keys")
    assert development.key() == secret
    assert keys.authenticate(secret) is not None


def test_a_revoked_development_key_is_replaced(app):
    secret = development.key()
    revoked = keys.authenticate(secret)
    assert revoked is not None
    keys.revoke(revoked.id)
    assert keys.authenticate(development.key()) is not None


def test_a_file_that_holds_no_key_is_told_in_one_sentence(folder):
    (folder / "var").mkdir()
    (folder / "var" / "development-key").write_text("secret\n")
    line = refusal("dev", "--port", "0", "--smtp-port", "0")
    assert line == f"Error: {folder}/var/development-key does not hold a key: delete it, and a new one is made."


def test_development_has_its_own_relay_only_while_the_operator_names_none():
    assert not development.has_relay(config.Settings())
    assert development.has_relay(config.Settings(mail_server="relay.example.org"))
    assert development.has_relay(config.Settings(mail_port=2525))


def test_development_completes_the_settings_and_overrides_none():
    with busy_port() as inbox:
        completed = development.completed(config.Settings(), inbox=inbox)
        assert (completed.mail_server, completed.mail_port) == inbox.getsockname()
    assert parse(completed.sender or "").email == "postroom@example.org"
    assert completed.admin == "admin@example.org"
    mine = config.Settings(sender="me@example.net", admin="root@example.net", mail_server="relay.example.net")
    kept = development.completed(mine, inbox=None)
    assert (kept.sender, kept.admin, kept.mail_server) == (mine.sender, mine.admin, mine.mail_server)
