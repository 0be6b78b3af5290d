"""What `postroom status` tells, and when it ends with an error."""

import json

import pytest
from click.testing import CliRunner

from api.cli import cli
from api.core import dispatchers, migrations, transports
from api.core.db import transact
from api.core.dispatchers import Drive
from schemas.vocabulary import TransportState
from tests.conftest import REFUSED, SENT


@pytest.fixture
def status(app, settings, monkeypatch):
    """Run `postroom status` on the app's database; return its status and what it printed."""
    monkeypatch.setenv("POSTROOM_DATABASE_URL", settings.database_url)
    monkeypatch.setattr(migrations, "upgrade", lambda: None)  # the fixture's tables bear no revision

    def status(*options):
        done = CliRunner().invoke(cli, ["status", *options], catch_exceptions=False)
        return done.exit_code, done.stdout, done.stderr

    return status


def test_a_deployment_in_which_nothing_dispatches_is_told_and_ends_with_an_error(status):
    code, shown, wrong = status()
    assert code == 1
    assert wrong == "Nothing dispatches.\n"
    assert "nothing is due" in shown


def test_dispatchers_queue_rates_and_relays_are_shown(status, accept, claim, settle):
    transact(lambda session: dispatchers.register(session, drive=Drive.PROCESS))
    transact(lambda s: transports.report(s, name="default", state=TransportState.UP, next_probe_at=None))
    for _ in range(5):
        accept()
    for held, result in zip(claim(limit=3), (SENT, SENT, REFUSED), strict=True):
        settle(held, result)
    code, shown, wrong = status()
    assert (code, wrong) == (0, "")
    assert "dispatch" in shown

    code, shown, _ = status("--json")
    found = json.loads(shown)
    assert code == 0
    assert [(one["drive"], one["alive"]) for one in found["dispatchers"]] == [("thread", True), ("dispatch", True)]
    assert found["queue"] == {"queued": 2}
    assert found["rates"][0] == {
        "minutes": 1,
        "accepted": 5,
        "attempts": {"failed": 1, "sent": 2},
        "sent_per_second": 0.03,
    }
    assert found["relays"][0]["state"] == "up"
    assert found["wrong"] == []


def test_what_is_older_than_the_last_minutes_is_in_no_rate(status, accept, claim, settle, at):
    transact(dispatchers.register)
    for _ in range(20):
        accept()
    for held in claim():
        settle(held, SENT)
    at(minutes=3)
    transact(dispatchers.register)
    rates = json.loads(status("--json")[1])["rates"]
    assert [(one["accepted"], one["attempts"]) for one in rates] == [(0, {}), (20, {"sent": 20})]


def test_due_mail_that_waits_too_long_ends_with_an_error(status, accept, at):
    accept()
    at(seconds=120)
    transact(dispatchers.register)
    assert status("--oldest", "300")[0] == 0
    code, _, wrong = status("--oldest", "60")
    assert code == 1
    assert "has waited for 1" in wrong


def test_a_dispatcher_that_is_silent_counts_as_dead(status, at):
    transact(dispatchers.register)
    at(minutes=5)
    code, shown, _ = status()
    assert code == 1
    assert "counts as dead" in shown
