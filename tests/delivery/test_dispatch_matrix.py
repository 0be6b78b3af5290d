"""Every fault in every phase, through the dispatcher and the table: what the operator sees, and that it heals."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from api.config import Settings
from api.core import notifications, transports
from api.core.claim import Address
from api.core.db import db, transact
from api.core.models import ApiKey, Delivery, Notification, Transport
from api.delivery.dispatch import Dispatcher
from api.delivery.thread import DispatcherThread
from schemas.vocabulary import DeliveryStatus, Outcome, Phase, TransportState
from tests.delivery import matrix
from tests.delivery.given import LARGE
from tests.delivery.matrix import FAULTS, MATRIX, SMALL_BODY, STATES, Expected, State, word
from tests.relay.process import Relay
from tests.relay.script import Rule

pytestmark = pytest.mark.once

PAGE = Path(__file__).parents[2] / "docs" / "delivery.md"
GREETING = [Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH]
#: Phase, whether the relay offers PIPELINING, and the row of the matrix.
DIALOGUES: dict[str, tuple[Phase, bool, dict[str, Expected]]] = {
    **{
        f"{phase}, {'pipelined' if pipelining else 'plain'}": (phase, pipelining, MATRIX[phase])
        for phase in (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT)
        for pipelining in (False, True)
    },
    "small body, pipelined": (Phase.BODY, True, SMALL_BODY),
}
Accept = Callable[..., Notification]
Delivered = Callable[[Notification], Delivery]
ComesTo = Callable[[Notification, State], None]


@pytest.fixture
def relay(relay: Relay) -> Relay:
    """A relay with STARTTLS that wants a login."""
    relay.configure(tls="starttls", users={"room": "secret"}, auth_required=True, size_limit=100_000_000)
    return relay


@pytest.fixture
def settings(settings: Settings, relay: Relay) -> Settings:
    """Settings that point to the relay: one sender, impatient with the relay, and patient before a second attempt."""
    return replace(
        settings,
        senders=1,
        mail_server=relay.host,
        mail_port=relay.port,
        mail_use_tls=True,
        mail_ca_file=str(relay.ca_file),
        mail_username="room",
        mail_password="secret",
        mail_timeout=0.4,
        mail_deadline=20.0,
        retry_first=3600.0,
        relay_probe_first=0.2,
        relay_probe_max=0.2,
        grace=5.0,
    )


@pytest.fixture
def delivered(key: ApiKey) -> Delivered:
    """Read the only delivery of a notification afresh."""
    return lambda notification: notifications.get(notification.id, key=key).deliveries[0]


@pytest.fixture
def comes_to(delivered: Delivered) -> Callable[[Notification, State], None]:
    """Wait until an operator sees this of a message and of the relay; a relay that is probed is seen now and then."""

    def comes_to(notification: Notification, expected: State) -> None:
        deadline = time.monotonic() + 20
        while (seen := see(delivered(notification))) != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert seen == expected

    return comes_to


def see(one: Delivery) -> State | None:
    """Return what is to be seen, or None before the first attempt is over."""
    outcomes = {attempt.outcome for attempt in one.history}
    if len(outcomes) != 1:
        return None
    return State(one.status, one.attempts, outcomes.pop(), one.possible_duplicate, known_relay().state)


def known_relay() -> Transport:
    with Session(db.engine) as session:
        known = transports.get(session)
    return known or Transport(name=transports.RELAY, state=TransportState.UP)


@pytest.mark.parametrize("phase", GREETING)
def test_a_fault_before_mail_keeps_the_mail_and_shows_at_the_relay(
    relay: Relay,
    accept: Accept,
    dispatching: DispatcherThread,
    until: Any,
    comes_to: ComesTo,
    delivered: Delivered,
    phase: Phase,
) -> None:
    accepted = []
    for fault, action in FAULTS.items():
        relay.disconnect()  # a kept connection has been greeted
        relay.script(Rule(phase.value, action))
        notification = accept()

        comes_to(notification, STATES[word(MATRIX[phase][fault])])
        assert known_relay().error_phase is phase

        relay.script()
        accepted.append(notification)
        until(lambda: all(delivered(one).status is DeliveryStatus.SENT for one in accepted))
        until(lambda: known_relay().state is TransportState.UP)
    assert {delivered(one).attempts for one in accepted} == {1}
    assert len(relay.messages()) == len(FAULTS)


@pytest.mark.parametrize("dialogue", DIALOGUES)
def test_a_fault_in_a_mails_transaction_is_that_mails_alone_and_is_got_over(
    app: Flask,
    relay: Relay,
    accept: Accept,
    dispatching: DispatcherThread,
    until: Any,
    at: Any,
    comes_to: ComesTo,
    delivered: Delivered,
    dialogue: str,
) -> None:
    phase, pipelining, row = DIALOGUES[dialogue]
    relay.configure(pipelining=pipelining)
    faulty: dict[str, Notification] = {}
    others: list[Notification] = []
    for fault, action in FAULTS.items():
        relay.script(Rule(phase.value, action, sender=f"{fault}@example.net"))
        faulty[fault] = accept(sender=Address(f"{fault}@example.net"))
        others.append(accept())
        expected = STATES[word(row[fault])]

        comes_to(faulty[fault], expected)
        assert known_relay().error_phase is (row[fault].phase if expected.relay is TransportState.PAUSED else None)

        relay.script()
        until(lambda: all(delivered(one).status is DeliveryStatus.SENT for one in others))
        until(lambda: known_relay().state is TransportState.UP)
        transact(lambda session: session.query(Transport).delete())  # the last error stays readable

    until(lambda: delivered(faulty["421"]).status is DeliveryStatus.SENT)
    dispatching.stop()
    at(hours=2)
    Dispatcher(app).run_until_idle()

    assert {delivered(one).attempts for one in others} == {1}
    failed = {fault for fault, expected in row.items() if expected.outcome is Outcome.FAILED}
    for fault, notification in faulty.items():
        ended = delivered(notification)
        assert ended.status is (DeliveryStatus.FAILED if fault in failed else DeliveryStatus.SENT)
        copies = [message for message in relay.messages() if message.message_id == notification.message_id]
        # A dripped acceptance is one that nobody has heard to its end.
        assert len(copies) == 1 - (fault in failed) or (len(copies) == 2 and ended.possible_duplicate)
        assert len({message.raw for message in copies}) <= 1
    assert len({message.message_id for message in relay.messages()}) == len(others) + len(FAULTS) - len(failed)


class TestALargeBody:
    """What is still being written when the fault comes; nothing is sent again, for that takes long."""

    @pytest.fixture
    def settings(self, settings: Settings, relay: Relay) -> Settings:
        relay.configure(tls="none", auth_required=False)
        return replace(settings, mail_use_tls=False, mail_username=None, mail_password=None)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_fault_while_it_is_written_leaves_nothing_in_doubt(
        self, relay: Relay, accept: Accept, dispatching: DispatcherThread, comes_to: ComesTo, fault: str
    ) -> None:
        relay.script(Rule("body", FAULTS[fault]))

        comes_to(accept(text=LARGE), STATES[word(MATRIX[Phase.BODY][fault])])

        assert relay.messages() == []


def test_the_page_about_delivery_shows_the_matrix_that_is_tested() -> None:
    shown = re.search(r"<!-- matrix: .*-->\n\n(.*?)\n<!-- end -->", PAGE.read_text(), re.DOTALL)

    assert shown is not None
    assert shown[1] == matrix.markdown(), "python -m tests.delivery.matrix prints what must stand there"
