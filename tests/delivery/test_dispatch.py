"""The dispatcher against a real relay: from the table to the wire and back."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from api.app import create_app
from api.config import Settings
from api.core import dispatchers, notifications, transports
from api.core.claim import Address
from api.core.db import Base, close, db, transact
from api.core.models import ApiKey, Capture, Delivery, Dispatcher, Notification
from api.delivery import thread
from api.delivery.dispatch import RETRY_SECONDS
from api.delivery.dispatch import Dispatcher as Dispatching
from schemas.vocabulary import DeliveryStatus, NotificationStatus, Outcome, TransportState
from tests.relay.actions import drop, hang, reply
from tests.relay.process import Relay
from tests.relay.script import Rule


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """A relay in a process of its own."""
    with Relay(tmp_path) as relay:
        yield relay


@pytest.fixture
def settings(settings: Settings, relay: Relay) -> Settings:
    """Settings that point to the relay, impatient."""
    return replace(
        settings,
        mail_server=relay.host,
        mail_port=relay.port,
        mail_timeout=1.0,
        mail_deadline=5.0,
        retry_first=0.2,
        retry_max=1.0,
        relay_probe_first=0.2,
        relay_probe_max=0.5,
        grace=3.0,
    )


@pytest.fixture
def drain(app: Flask) -> Callable[[], None]:
    """Dispatch until nothing is due."""
    return lambda: Dispatching(app).run_until_idle()


@pytest.fixture
def dispatching(app: Flask) -> Iterator[thread.DispatcherThread]:
    """A dispatcher thread that runs during the test."""
    running = thread.DispatcherThread(app)
    app.extensions["postroom.nudge"] = running.nudge
    running.start()
    yield running
    running.stop()


@pytest.fixture
def until(app: Flask) -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds; time only bounds the wait."""

    def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it never came to hold"
            time.sleep(0.02)

    return until


@pytest.fixture
def status(app: Flask, key: ApiKey) -> Callable[[Notification], NotificationStatus]:
    """Read the status of a notification afresh."""
    return lambda notification: notifications.get(notification.id, key=key).status


def test_what_is_accepted_is_sent_once_with_the_relays_reply(accept, drain, relay, delivery):
    notification = accept(to=[Address("ann@example.org", "Ann, Jr.")], subject="Grüße", text="Guten Tag.\n")

    drain()

    [message] = relay.messages()
    assert message.recipients == ("ann@example.org",)
    assert message.parsed["Subject"] == "[Postroom] Grüße"
    assert message.parsed["Message-ID"] == notification.message_id
    sent = delivery(notification)
    assert sent.status is DeliveryStatus.SENT
    assert sent.history[0].code == 250
    assert sent.history[0].reply
    assert not sent.possible_duplicate


def test_every_recipient_has_a_transaction_of_its_own_and_the_same_message(accept, drain, relay):
    accept(to=[Address("ann@example.org"), Address("bob@example.org")], bcc=[Address("eve@example.org")])

    drain()

    messages = relay.messages()
    assert sorted(message.recipients for message in messages) == [
        ("ann@example.org",),
        ("bob@example.org",),
        ("eve@example.org",),
    ]
    assert len({message.raw for message in messages}) == 1
    assert b"eve@example.org" not in messages[0].raw


def test_a_refused_recipient_fails_with_the_relays_words_and_the_others_get_it(accept, drain, relay, key):
    relay.script(Rule("rcpt", reply("550 5.1.1 no such user here"), recipient="bob@*"))
    notification = accept(to=[Address("ann@example.org"), Address("bob@example.org")])

    drain()

    ann, bob = notifications.get(notification.id, key=key).deliveries
    assert ann.status is DeliveryStatus.SENT
    assert bob.status is DeliveryStatus.FAILED
    assert (bob.history[0].code, bob.history[0].enhanced_code) == (550, "5.1.1")
    assert "no such user here" in bob.history[0].reply
    assert notifications.get(notification.id, key=key).status is NotificationStatus.PARTIAL


def test_a_deferred_recipient_is_tried_again_and_sent(accept, dispatching, relay, status, until, delivery):
    relay.script(Rule("rcpt", reply("451 4.7.1 greylisted"), times=1))
    notification = accept()

    until(lambda: status(notification) is NotificationStatus.SENT)

    assert [one.outcome for one in delivery(notification).history] == [Outcome.DEFERRED, Outcome.SENT]
    assert delivery(notification).attempts == 2
    assert len(relay.messages()) == 1


def test_a_relay_that_is_down_burns_no_attempt_and_gets_everything_when_it_is_back(
    accept, dispatching, relay, status, until, delivery
):
    relay.refuse()
    accepted = [accept() for _ in range(10)]
    until(lambda: (known := transact(transports.get)) is not None and known.state is TransportState.PAUSED)

    relay.listen()

    until(lambda: all(status(one) is NotificationStatus.SENT for one in accepted))
    assert len(relay.wait_for(10)) == 10
    assert all(delivery(one).attempts == 1 for one in accepted)
    until(lambda: (known := transact(transports.get)) is not None and known.state is TransportState.UP)


def test_a_refused_login_stops_the_relay_keeps_the_mail_and_resumes_when_mended(
    settings, relay, tmp_path, accept, dispatching, until, status
):
    relay.configure(users={"ann": "right"}, auth_required=True)
    notification = accept()

    until(lambda: (known := transact(transports.get)) is not None and known.state is TransportState.STOPPED)
    until(lambda: status(notification) is NotificationStatus.QUEUED)
    assert relay.messages() == []

    relay.configure(users={}, auth_required=False)
    until(lambda: status(notification) is NotificationStatus.SENT)


def test_a_hung_dialogue_delays_nobody_else(accept, dispatching, relay, status, until):
    relay.script(Rule("rcpt", hang(), recipient="slow@*"))
    slow = accept(to=[Address("slow@example.org")])
    others = [accept() for _ in range(20)]

    until(lambda: all(status(one) is NotificationStatus.SENT for one in others))

    assert status(slow) in (NotificationStatus.SENDING, NotificationStatus.DEFERRED)


def test_a_connection_lost_after_the_dot_is_a_possible_duplicate_and_the_same_message(
    accept, dispatching, relay, status, until, delivery
):
    relay.script(Rule("after_dot", drop(), times=1))
    notification = accept()

    until(lambda: status(notification) is NotificationStatus.SENT)

    first, second = relay.messages()
    assert first.raw == second.raw
    assert delivery(notification).possible_duplicate
    assert [one.outcome for one in delivery(notification).history] == [Outcome.UNKNOWN, Outcome.SENT]


def test_two_dispatchers_send_each_message_once(accept, app, relay, settings, until, status):
    accepted = [accept() for _ in range(60)]
    other = create_app(settings)
    both = [thread.DispatcherThread(app), thread.DispatcherThread(other)]
    for one in both:
        one.start()

    until(lambda: all(status(one) is NotificationStatus.SENT for one in accepted))

    for one in both:
        one.stop()
    close(other)
    assert len(relay.messages()) == 60
    assert len({message.parsed["Message-ID"] for message in relay.messages()}) == 60


def test_stopping_ends_the_transaction_under_way_and_gives_back_the_rest(accept, app, relay, until, key, count):
    relay.configure(latency_ms=50)
    accepted = [accept() for _ in range(30)]
    running = thread.DispatcherThread(app)
    running.start()
    until(lambda: len(relay.messages()) >= 2)

    running.stop()

    taken = [notifications.get(one.id, key=key).deliveries[0] for one in accepted]
    assert {one.status for one in taken} <= {DeliveryStatus.SENT, DeliveryStatus.QUEUED}
    assert sum(one.status is DeliveryStatus.SENT for one in taken) == len(relay.messages())
    assert all(one.attempts == 0 for one in taken if one.status is DeliveryStatus.QUEUED)
    assert count(Dispatcher) == 0


def test_test_mail_goes_to_the_captured_inbox_and_never_to_the_relay(accept, drain, relay, test_key, count):
    notification = accept(key=test_key)

    drain()

    assert relay.messages() == []
    assert count(Capture) == 1
    assert notifications.get(notification.id, key=test_key).status is NotificationStatus.SENT


def test_a_message_that_cannot_be_put_on_the_wire_fails_and_says_so(accept, app, drain, relay, delivery):
    notification = accept()
    transact(lambda session: _spoil(session))

    drain()

    assert delivery(notification).status is DeliveryStatus.FAILED
    assert relay.messages() == []


def test_a_dispatcher_whose_database_fails_says_so_and_goes_on_when_it_can(accept, app, relay, until, status):
    running = thread.DispatcherThread(app)
    Base.metadata.tables["dispatchers"].drop(db.engine)
    running.start()
    until(lambda: running.trouble is not None)

    Base.metadata.tables["dispatchers"].create(db.engine)
    notification = accept()

    until(lambda: status(notification) is NotificationStatus.SENT)
    assert running.trouble is None
    running.stop()


def test_a_dispatcher_that_raises_is_restarted_and_says_so_meanwhile(accept, app, relay, until, status, monkeypatch):
    monkeypatch.setattr(thread, "RESTART_FIRST", 0.5)
    running = thread.DispatcherThread(app)
    policy = app.extensions.pop("postroom.policy")  # what no dispatcher expects
    running.start()
    until(lambda: running.trouble is not None)
    assert not running.alive

    app.extensions["postroom.policy"] = policy
    notification = accept()

    until(lambda: status(notification) is NotificationStatus.SENT)
    assert running.alive
    assert running.trouble is None
    running.stop()


def test_a_dead_process_leaves_its_mail_to_the_next_at_once(accept, app, relay, claim, drain, status):
    notification = accept()
    dead = transact(dispatchers.register)
    claim(by=dead)
    transact(lambda session: setattr(session.get(Dispatcher, dead), "pid", 2**22 + 7))

    drain()

    assert status(notification) is NotificationStatus.SENT


def test_a_drained_thread_leaves_no_thread_behind(app, dispatching, until):
    until(lambda: transact(dispatchers.alive) == 1)

    dispatching.stop()

    assert not dispatching.alive
    assert transact(dispatchers.alive) == 0


def _spoil(session) -> None:
    session.query(Delivery).update({"recipient": "no address"})


def test_a_call_from_before_is_no_reason_to_try_again_without_a_pause(app, tmp_path):
    (tmp_path / "file").touch()
    settings = app.extensions["postroom.dispatch"]
    app.extensions["postroom.dispatch"] = replace(settings, journals=tmp_path / "file" / "state")
    dispatcher = Dispatching(app)
    dispatcher.nudge()
    ends = iter([False, False, True])
    began = time.monotonic()

    dispatcher.run(lambda: next(ends))

    assert time.monotonic() - began >= 2 * RETRY_SECONDS * 0.9
    assert "cannot be written" in (dispatcher.trouble or "")
