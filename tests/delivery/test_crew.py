"""The threads that send: what they owe the dispatcher, whatever happens."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.config import Settings
from api.core.journal import Journal
from api.core.models import Notification
from api.delivery.circuit import Circuit
from api.delivery.crew import Crew
from api.delivery.smtp import mail
from schemas.vocabulary import Outcome
from tests.relay.process import Relay

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
