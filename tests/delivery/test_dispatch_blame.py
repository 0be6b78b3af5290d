"""Whose fault it is, through the dispatcher and the table: who is tried later, what is paused, and what is stopped."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from api.config import Settings
from api.core import transports
from api.core.claim import Address
from api.core.db import db
from api.core.models import Notification, Transport
from api.delivery.dispatch import Dispatcher
from api.delivery.thread import DispatcherThread
from schemas.vocabulary import DeliveryStatus, Outcome, Phase, TransportState
from tests.delivery.given import verbs
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Rule

USERS = {"room": "secret"}
Accept = Callable[..., Notification]


@pytest.fixture
def settings(settings: Settings, relay: Relay) -> Settings:
    """Settings that point to the relay, over STARTTLS and with a login, quick to probe."""
    relay.configure(tls="starttls", users=USERS, auth_required=True)
    return replace(
        settings,
        mail_server=relay.host,
        mail_port=relay.port,
        mail_use_tls=True,
        mail_ca_file=str(relay.ca_file),
        mail_username="room",
        mail_password="secret",
        mail_timeout=5.0,
        mail_deadline=20.0,
        relay_probe_first=0.2,
        relay_probe_max=0.2,
        grace=0.2,
    )


def known_relay() -> Transport:
    with Session(db.engine) as session:
        known = transports.get(session)
    return known or Transport(name=transports.RELAY, state=TransportState.UP)


@dataclass(frozen=True)
class Trouble:
    """What the operator has to mend at the relay, and what is said of it."""

    relay: dict[str, Any]
    phase: Phase
    says: str
    code: int | None = None
    mended: dict[str, Any] = field(default_factory=dict)
    #: What the relay was told at most.
    told: frozenset[str] = frozenset({"EHLO", "STARTTLS", "QUIT"})


TROUBLES = {
    "a wrong password": Trouble(
        {"users": {"room": "other"}},
        Phase.AUTH,
        "wrong user or password",
        535,
        {"users": USERS},
        frozenset({"EHLO", "STARTTLS", "AUTH", "QUIT"}),
    ),
    "no login that both know": Trouble(
        {"mechanisms": ("XOAUTH2",)}, Phase.AUTH, "XOAUTH2", mended={"mechanisms": ("PLAIN",)}
    ),
    "a stripped STARTTLS": Trouble(
        {"tls": "none"}, Phase.STARTTLS, "does not offer STARTTLS", mended={"tls": "starttls"}
    ),
    "an expired certificate": Trouble(
        {"certificate": "expired"}, Phase.STARTTLS, "certificate", mended={"certificate": "good"}
    ),
    "another's certificate": Trouble(
        {"certificate": "wrong_name"}, Phase.STARTTLS, "certificate", mended={"certificate": "good"}
    ),
    "a certificate that nobody vouches for": Trouble(
        {"certificate": "unknown_ca"}, Phase.STARTTLS, "certificate", mended={"certificate": "good"}
    ),
    "an old TLS": Trouble({"tls_maximum": "TLSv1_1"}, Phase.STARTTLS, "TLS 1.2", mended={"tls_maximum": None}),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_what_the_operator_must_mend_stops_the_relay_keeps_all_mail_and_heals_by_itself(
    app: Flask, relay: Relay, accept: Accept, delivery: Any, dispatching: DispatcherThread, until: Any, trouble: Trouble
) -> None:
    relay.configure(**trouble.relay)
    accepted = [accept() for _ in range(5)]
    until(lambda: known_relay().state is TransportState.STOPPED)
    until(lambda: len(relay.connections()) >= 3)  # it is probed, and stays stopped

    known = known_relay()
    assert (known.state, known.error_phase, known.error_code) == (TransportState.STOPPED, trouble.phase, trouble.code)
    assert trouble.says in (known.error_reply or "")
    assert {command.verb for command in relay.commands() if command.verb.isalpha()} <= trouble.told
    until(lambda: {delivery(one).status for one in accepted} == {DeliveryStatus.QUEUED})
    assert {delivery(one).attempts for one in accepted} == {0}
    assert {attempt.outcome for attempt in attempts(delivery, accepted)} == {Outcome.RELEASED}

    relay.configure(**trouble.mended)

    until(lambda: {delivery(one).status for one in accepted} == {DeliveryStatus.SENT})
    until(lambda: known_relay().state is TransportState.UP)
    assert {delivery(one).attempts for one in accepted} == {1}
    assert [(message.tls, message.user) for message in relay.messages()] == [(True, "room")] * 5


def attempts(delivery: Any, accepted: list[Notification]) -> list[Any]:
    return [attempt for one in accepted for attempt in delivery(one).history]


def test_a_stopped_relay_shows_at_readyz_with_its_reason_until_it_is_mended(
    app: Flask, relay: Relay, accept: Accept, dispatching: DispatcherThread, until: Any
) -> None:
    client = app.test_client()
    relay.configure(users={"room": "other"})
    accept()

    until(lambda: client.get("/readyz").status_code == 503)
    answer = client.get("/readyz").get_json()
    relay.configure(users=USERS)

    assert "stopped" in answer["checks"]["relay"]["detail"]
    assert "535" in answer["checks"]["relay"]["detail"]
    until(lambda: client.get("/readyz").status_code == 200)


def test_greylisting_is_respected(app: Flask, relay: Relay, accept: Accept, delivery: Any, at: Any) -> None:
    relay.script(Rule("rcpt", actions.reply("450 4.2.0 greylisted, come back in 5 minutes"), recipient="grey@*"))
    grey, white = accept(to=[Address("grey@example.org")]), accept()
    Dispatcher(app).run_until_idle()
    assert (delivery(grey).status, delivery(white).status) == (DeliveryStatus.DEFERRED, DeliveryStatus.SENT)
    relay.script()

    at(minutes=4, seconds=50)
    Dispatcher(app).run_until_idle()
    assert (delivery(grey).status, len(relay.messages())) == (DeliveryStatus.DEFERRED, 1)  # too early: not even asked
    at(minutes=7)
    Dispatcher(app).run_until_idle()

    assert delivery(grey).status is DeliveryStatus.SENT
    assert [attempt.code for attempt in delivery(grey).history] == [450, 250]
    assert verbs(relay).count("MAIL") == 3
    assert known_relay().state is TransportState.UP


RECIPIENTS = {
    "450 4.2.0 greylisted": Outcome.DEFERRED,
    "450 mailbox busy": Outcome.DEFERRED,
    "451 4.7.1 greylisted": Outcome.DEFERRED,
    "452 4.2.2 this mailbox is full": Outcome.DEFERRED,
    "452 4.5.3 too many recipients": Outcome.DEFERRED,
    "550 5.1.1 no such user": Outcome.FAILED,
    "552 5.2.2 this mailbox is full for good": Outcome.FAILED,
    "554 5.7.1 relay access denied": Outcome.FAILED,
}
RELAYS = {
    ("mail", "421 4.7.0 too many connections"),
    ("rcpt", "421 4.3.2 shutting down"),
    ("mail", "452 4.3.1 insufficient system storage"),
    ("rcpt", "452 4.3.1 insufficient system storage"),
    ("dot", "452 4.3.1 insufficient system storage"),
    ("mail", "451 4.3.0 queue file write error"),
    ("dot", "454 throttling failure: daily message quota exceeded"),
    ("rcpt", "550 5.4.5 daily user sending limit exceeded"),
}


def test_a_recipients_trouble_is_its_own(app: Flask, relay: Relay, accept: Accept, delivery: Any) -> None:
    relay.script(*(Rule("rcpt", actions.reply(said), recipient=f"user{n}@*") for n, said in enumerate(RECIPIENTS)))
    accepted = {said: accept(to=[Address(f"user{n}@example.org")]) for n, said in enumerate(RECIPIENTS)}
    well = accept()

    Dispatcher(app).run_until_idle()

    assert {said: [attempt.outcome for attempt in delivery(one).history] for said, one in accepted.items()} == {
        said: [outcome] for said, outcome in RECIPIENTS.items()
    }
    assert {delivery(one).attempts for one in accepted.values()} == {1}
    assert delivery(well).status is DeliveryStatus.SENT
    assert known_relay().state is TransportState.UP


@pytest.mark.parametrize(("phase", "said"), sorted(RELAYS))
def test_a_relays_trouble_pauses_it_and_counts_against_nobody(
    relay: Relay, accept: Accept, delivery: Any, dispatching: DispatcherThread, until: Any, phase: str, said: str
) -> None:
    relay.script(Rule(phase, actions.reply(said)))
    accepted = [accept() for _ in range(3)]
    until(lambda: known_relay().state is TransportState.PAUSED)
    assert {delivery(one).attempts for one in accepted} <= {0, 1}  # 1 while it is under way
    assert known_relay().error_code == int(said[:3])

    relay.script()

    until(lambda: {delivery(one).status for one in accepted} == {DeliveryStatus.SENT})
    assert {delivery(one).attempts for one in accepted} == {1}
    assert {attempt.outcome for attempt in attempts(delivery, accepted)} == {Outcome.RELEASED, Outcome.SENT}
    assert len(relay.messages()) == 3


@pytest.mark.parametrize("phase", ["banner", "mail", "rcpt", "data"])
def test_a_process_that_is_stopped_while_a_dialogue_hangs_blames_nobody_for_it(
    app: Flask, relay: Relay, accept: Accept, delivery: Any, dispatching: DispatcherThread, until: Any, phase: str
) -> None:
    relay.script(Rule(phase, actions.hang()))
    accepted = [accept() for _ in range(3)]
    until(lambda: relay.faults())

    dispatching.stop()

    assert {(delivery(one).status, delivery(one).attempts) for one in accepted} == {(DeliveryStatus.QUEUED, 0)}
    told = {(attempt.outcome, attempt.reply) for attempt in attempts(delivery, accepted)}
    assert told <= {(Outcome.RELEASED, "stopped by this process")}
    assert known_relay().state is TransportState.UP
    relay.script()
    Dispatcher(app).run_until_idle()
    assert {delivery(one).status for one in accepted} == {DeliveryStatus.SENT}
    assert len(relay.messages()) == 3


def test_a_process_that_is_stopped_while_a_final_dot_hangs_says_that_nobody_knows(
    relay: Relay, accept: Accept, delivery: Any, dispatching: DispatcherThread, until: Any
) -> None:
    relay.script(Rule("dot", actions.hang()))
    notification = accept()
    until(lambda: relay.faults())

    dispatching.stop()

    assert (delivery(notification).status, delivery(notification).possible_duplicate) == (DeliveryStatus.DEFERRED, True)
    assert [attempt.outcome for attempt in delivery(notification).history] == [Outcome.UNKNOWN]
    assert known_relay().state is TransportState.UP
