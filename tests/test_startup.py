import importlib.util
import pickle
from dataclasses import replace

import pytest

from api.config import Settings
from api.core import migrations
from api.core.db import close
from api.core.migrations import Standing
from api.startup import Alone, prepared
from tests.commandline import busy_port, refusal


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Commands run in an empty directory of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_serving_without_a_sender_is_refused(folder):
    assert "POSTROOM_SENDER is missing" in refusal("serve")
    assert not (folder / "var").exists()


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_a_busy_port_is_told_in_one_sentence(command):
    with busy_port() as taken:
        port = taken.getsockname()[1]
        line = refusal(command, "--port", str(port), POSTROOM_SENDER="a@example.org")
    assert line == f"Error: Port {port} on 127.0.0.1 cannot be used for HTTP: Address already in use."


def test_a_worker_goes_on_with_the_app_that_was_made_and_a_spawned_one_makes_its_own(folder):
    settings = replace(Settings(), dispatch="none", affinity="all")
    with prepared(settings) as app:
        pass
    load = Alone(settings, app)
    assert load() is app
    with app.app_context():
        assert migrations.state().standing is Standing.CURRENT
    close(app)
    made = pickle.loads(pickle.dumps(load))()  # noqa: S301 -- our own
    assert made is not app
    assert made.config["SQLALCHEMY_DATABASE_URI"] == app.config["SQLALCHEMY_DATABASE_URI"]
    close(made)


def test_a_busy_port_of_the_inbox_is_told_in_one_sentence():
    with busy_port() as taken:
        port = taken.getsockname()[1]
        line = refusal("dev", "--port", "0", "--smtp-port", str(port))
    assert line == f"Error: Port {port} on 127.0.0.1 cannot be used for the inbox: Address already in use."


def test_an_address_of_another_machine_is_told_in_one_sentence():
    line = refusal("serve", "--host", "192.0.2.1", POSTROOM_SENDER="a@example.org")
    assert line == "Error: Port 8000 on 192.0.2.1 cannot be used for HTTP: Cannot assign requested address."


COMMANDS = [
    ("dev", "--port", "0", "--smtp-port", "0"),
    ("serve", "--port", "0"),
    ("dispatch", "--once"),
    ("keys", "list"),
]


DATABASE_REFUSED = (
    "postgresql://u:***@127.0.0.1:1/db"
    if importlib.util.find_spec("psycopg")
    else "POSTROOM_DATABASE_URL cannot be used"
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("MAIL_PORT", "smtp", "MAIL_PORT"),
        ("POSTROOM_DATABASE_URL", "postroom.db", "POSTROOM_DATABASE_URL"),
        ("POSTROOM_DATABASE_URL", "oracle://db", "POSTROOM_DATABASE_URL"),
        ("POSTROOM_ADMIN", "somebody", "POSTROOM_ADMIN"),
        ("POSTROOM_DATABASE_URL", "sqlite:////proc/there/postroom.db", "The directory /proc/there cannot be written"),
        # Where its driver is not installed, the setting is named; where it is, the server that is not there.
        ("POSTROOM_DATABASE_URL", "postgresql://u:hush@127.0.0.1:1/db", DATABASE_REFUSED),
    ],
)
def test_what_keeps_a_command_from_starting_is_told_in_one_sentence(command, setting, value, told):
    line = refusal(*command, **{"POSTROOM_SENDER": "a@example.org", setting: value})
    assert told in line
    assert "hush" not in line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_is_none_is_told_in_one_sentence(command, folder):
    (folder / "notes.txt").write_text("Dear diary, " * 100)
    line = refusal(*command, POSTROOM_SENDER="a@example.org", POSTROOM_DATABASE_URL="sqlite:///notes.txt")
    assert line == f"Error: The database {folder}/notes.txt cannot be used: file is not a database."


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_a_database_in_memory_cannot_be_shared_with_the_workers_and_is_refused(command):
    line = refusal(command, "--port", "0", POSTROOM_SENDER="a@example.org", POSTROOM_DATABASE_URL="sqlite://")
    assert "POSTROOM_DATABASE_URL" in line
