"""What `postroom doctor` finds, and what it says to do."""

import pytest

from tests.commandline import run, stored
from tests.relay.process import Relay


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Commands run in an empty directory of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def relay(tmp_path):
    """A relay with STARTTLS and a login."""
    with Relay(tmp_path, tls="starttls", users={"ann": "secret"}) as relay:
        yield relay


def settings(relay, **others):
    return {
        "POSTROOM_SENDER": "a@example.org",
        "MAIL_SERVER": relay.host,
        "MAIL_PORT": str(relay.port),
        "MAIL_USE_TLS": "true",
        "MAIL_USERNAME": "ann",
        "MAIL_PASSWORD": "secret",
        "MAIL_CA_FILE": str(relay.ca_file),
        "MAIL_TIMEOUT": "5",
        **others,
    }


def failures(done):
    return [line.split(":")[0].removeprefix("FAIL").strip() for line in done.stdout.splitlines() if "FAIL" in line]


def test_a_good_set_up_has_nothing_wrong_and_sends_no_mail(relay):
    with stored():
        pass
    done = run("doctor", **settings(relay))
    assert (done.exit_code, failures(done)) == (0, [])
    assert "takes mail (TLS, certificate checked, logged in)" in done.stdout
    assert "and can be written" in done.stdout
    assert relay.messages() == []


def test_a_database_that_is_not_there_yet_is_nothing_wrong(relay, folder):
    done = run("doctor", **settings(relay))
    assert done.exit_code == 0
    assert "is not there yet" in done.stdout
    assert not (folder / "var" / "postroom.db").exists()


@pytest.mark.parametrize(
    ("wrong", "name", "todo"),
    [
        pytest.param({"MAIL_PASSWORD": "other"}, "relay", "MAIL_PASSWORD", id="password"),
        pytest.param({"MAIL_CA_FILE": ""}, "relay", "MAIL_CA_FILE", id="unknown CA"),
        pytest.param({"MAIL_PORT": "1"}, "relay", "MAIL_SERVER and MAIL_PORT", id="nobody listens"),
        pytest.param({"POSTROOM_SENDER": ""}, "settings", "POSTROOM_SENDER", id="no sender"),
        pytest.param({"POSTROOM_SENDERS": "many"}, "settings", "POSTROOM_SENDERS", id="no number"),
        pytest.param({"POSTROOM_DISPATCH": "celery"}, "broker", "POSTROOM_BROKER_URL", id="no broker"),
        pytest.param(
            {"POSTROOM_DISPATCH": "celery", "POSTROOM_BROKER_URL": "redis://:hush@127.0.0.1:1/0"},
            "broker",
            "until then accepted mail waits",
            id="broker down",
        ),
        pytest.param(
            {"POSTROOM_DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/db"},
            "database",
            "POSTROOM_DATABASE_URL",
            id="database down",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do_and_without_a_secret(relay, wrong, name, todo):
    done = run("doctor", **settings(relay, **wrong))
    assert done.exit_code == 1
    assert failures(done) == [name]
    assert todo in done.stdout
    assert "hush" not in done.output
    assert "secret" not in done.output


def test_a_database_that_something_else_has_made_is_told(relay, folder):
    (folder / "notes.db").write_text("Dear diary, " * 100)
    done = run("doctor", **settings(relay, POSTROOM_DATABASE_URL="sqlite:///notes.db"))
    assert (done.exit_code, failures(done)) == (1, ["database"])
