"""The threads that send: what they owe the dispatcher, whatever happens."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.config import Settings
from api.core.journal import Journal, read
from api.core.models import Notification
from api.delivery.circuit import Circuit
from api.delivery.crew import Crew
from api.delivery.smtp import mail
from schemas.vocabulary import Outcome
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Rule

Accept = Callable[..., Notification]


@pytest.fixture
def settings(settings: Settings, relay: Relay) -> Settings:
    """Settings that point to the relay."""
    return replace(settings, mail_server=relay.host, mail_port=relay.port)


def test_after_an_unforeseen_error_a_mail_that_was_let_into_data_may_be_through(
    app: Flask, relay: Relay, accept: Accept, claim: Any, tmp_path: Path, until: Any
) -> None:
    accept(), accept()
    inside, odd = claim()
    journal = Journal(tmp_path / "journal")
    crew = Crew(app, mail, size=1, circuit=Circuit(senders=1, first=1, longest=1), journal=journal, wake=lambda: None)
    crew.vouch(math.inf)

    crew.take([inside, replace(odd, content=None)])
    until(lambda: crew.open() == 0)
    crew.stop(grace=10)
    journal.close()

    settlements, returned = crew.fetch()
    outcomes = {settlement.hold.delivery_id: settlement.result.outcome for settlement in settlements}
    assert outcomes == {inside.delivery_id: Outcome.UNKNOWN, odd.delivery_id: Outcome.DEFERRED}
    assert returned == []
    assert relay.messages() == []


def test_while_the_next_envelope_is_not_answered_the_journal_knows_what_came_of_the_mail_before(
    app: Flask, relay: Relay, accept: Accept, claim: Any, tmp_path: Path, until: Any
) -> None:
    relay.configure(pipelining=False)
    relay.script(Rule("mail", actions.hang(), after=1))
    accept(), accept()
    first, second = claim()
    journal = Journal(tmp_path / "journal")
    crew = Crew(app, mail, size=1, circuit=Circuit(senders=1, first=1, longest=1), journal=journal, wake=lambda: None)
    crew.vouch(math.inf)

    crew.take([first, second])
    until(lambda: read(tmp_path / "journal").settlements)

    [known] = read(tmp_path / "journal").settlements
    assert (known.hold.delivery_id, known.result.outcome) == (first.delivery_id, Outcome.SENT)
    assert read(tmp_path / "journal").begun == ()
    crew.stop(grace=0)
    journal.close()
