"""The simulator through the dispatcher: each mailbox's whole story, and nobody else held up by it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from api.config import Settings
from api.core import dispatchers, erasure, lifecycle, notifications
from api.core.claim import Address
from api.core.db import transact
from api.core.models import ApiKey, Attempt, Capture, Delivery, Notification
from api.core.simulator import DOMAIN, SLOW_SECONDS
from api.core.uploads import Upload
from api.delivery.capture import LIMIT
from api.delivery.capture import Capture as Capturing
from api.delivery.dispatch import Dispatcher
from schemas.vocabulary import DeliveryStatus, Mode, NotificationStatus
from tests.relay.process import Relay

SENT, DEFERRED = DeliveryStatus.SENT, DeliveryStatus.DEFERRED
FAILED, EXPIRED, SENDING = DeliveryStatus.FAILED, DeliveryStatus.EXPIRED, DeliveryStatus.SENDING


@pytest.fixture
def capturing() -> Capturing:
    """One dispatcher's road to the inbox."""
    return Capturing()


@pytest.fixture
def deliver(capturing: Capturing, holder: UUID) -> Callable[[], bool]:
    """Deliver test mail that is due."""
    return lambda: capturing.deliver(holder)


@pytest.fixture
def at(at: Callable[..., datetime]) -> Callable[..., datetime]:
    """Stop the clock, and move it."""
    at(seconds=0)
    return at


@pytest.fixture
def write(accept: Callable[..., Notification], test_key: ApiKey) -> Callable[..., Notification]:
    """Accept a message to a mailbox of the simulator."""

    def write(mailbox: str, **message: Any) -> Notification:
        return accept(key=test_key, to=[Address(f"{mailbox}@{DOMAIN}")], **message)

    return write


def codes(delivery: Delivery) -> list[tuple[str, int | None, str | None]]:
    return [(one.phase.value, one.code, one.enhanced_code) for one in delivery.history]


@pytest.mark.parametrize(
    ("mailbox", "status", "history", "kept"),
    [
        ("delivered", SENT, [("dot", 250, "2.0.0")], 1),
        ("deferred", DEFERRED, [("rcpt", 450, "4.7.1")], 0),
        ("expired", DEFERRED, [("rcpt", 450, "4.2.1")], 0),
        ("failed", FAILED, [("rcpt", 550, "5.1.1")], 0),
        ("full", FAILED, [("rcpt", 552, "5.2.2")], 0),
        ("blocked", FAILED, [("rcpt", 550, "5.7.1")], 0),
        ("spam", FAILED, [("dot", 554, "5.7.1")], 0),
        ("slow", SENDING, [], 0),
        ("lost", DEFERRED, [("dot", None, None)], 1),
    ],
)
def test_the_first_attempt_is_answered_by_the_mailbox(write, deliver, delivery, count, mailbox, status, history, kept):
    notification = write(f"{mailbox}+{mailbox}-1")

    assert deliver()

    found = delivery(notification)
    assert (found.status, found.attempts, codes(found)) == (status, 1, history)
    assert found.possible_duplicate is (mailbox == "lost")
    assert count(Capture) == kept


@pytest.mark.parametrize(("mailbox", "kept"), [("deferred", 1), ("lost", 2)])
def test_what_was_deferred_is_sent_a_second_later(write, deliver, delivery, count, at, mailbox, kept):
    notification = write(mailbox)
    deliver()

    at(seconds=2)
    assert deliver()

    found = delivery(notification)
    assert (found.status, found.attempts) == (SENT, 2)
    assert codes(found)[-1] == ("dot", 250, "2.0.0")
    assert count(Capture) == kept


def test_what_is_never_taken_expires_within_half_a_minute(write, deliver, delivery, at, count):
    notification = write("expired")
    for second in range(31):
        at(seconds=second)
        deliver()

    found = delivery(notification)
    assert found.status is EXPIRED
    assert 3 < found.attempts == count(Attempt) < 8
    assert {code for _, code, _ in codes(found)} == {450}


def test_an_expiry_of_the_callers_own_comes_sooner(write, deliver, delivery, at):
    notification = write("expired", expires_at=at(seconds=0) + timedelta(seconds=5))
    deliver()
    at(seconds=6)
    deliver()

    assert delivery(notification).status is EXPIRED


def test_what_is_tried_again_by_hand_is_given_up_as_soon(write, deliver, delivery, at, test_key):
    notification = write("expired")
    for second in range(30):
        at(seconds=second)
        deliver()
    begin = at(seconds=60)
    lifecycle.retry(notification.id, key=test_key)

    assert (delivery(notification).expires_at - begin).total_seconds() == pytest.approx(20)


def test_a_slow_one_is_being_sent_for_some_seconds_and_holds_up_nobody(write, deliver, capturing, delivery, at, count):
    slow = write("slow+1")
    deliver()
    others = [write("delivered"), write("failed")]

    at(seconds=SLOW_SECONDS - 1)
    deliver()
    assert delivery(slow).status is SENDING
    assert [delivery(one).status for one in others] == [SENT, FAILED]
    assert (capturing.open(), count(Capture)) == (1, 1)

    at(seconds=SLOW_SECONDS + 1)
    deliver()
    found = delivery(slow)
    assert (found.status, found.attempts, found.history[0].duration_ms) == (SENT, 1, SLOW_SECONDS * 1000)
    assert (capturing.open(), count(Capture)) == (0, 2)


def test_more_slow_ones_than_one_transaction_takes_are_all_answered(write, deliver, at, count, test_key):
    written = [write(f"slow+{number}") for number in range(LIMIT + 5)]
    while deliver():
        pass
    at(seconds=SLOW_SECONDS + 1)
    while deliver():
        pass

    assert {notifications.get(one.id, key=test_key).status for one in written} == {NotificationStatus.SENT}
    assert count(Capture) == LIMIT + 5


def test_a_clock_that_is_put_back_leaves_no_slow_one_behind(write, deliver, delivery, at):
    slow = write("slow")
    deliver()

    at(days=-300)
    deliver()
    assert delivery(slow).status is SENT


def test_a_slow_one_that_somebody_else_took_over_is_kept_once(write, deliver, delivery, at, count):
    slow = write("slow")
    deliver()
    at(hours=1)  # the lease is over
    other = transact(dispatchers.register)
    successor = Capturing()
    successor.deliver(other)

    deliver()
    assert (delivery(slow).status, count(Capture)) == (SENDING, 0)
    at(hours=2)
    successor.deliver(other)
    assert (delivery(slow).status, count(Capture)) == (SENT, 1)
    assert delivery(slow).possible_duplicate is False


def test_a_dispatcher_that_ends_gives_back_the_slow_ones(app, write, until, delivery, test_key):
    slow = write("slow")
    dispatcher = Dispatcher(app)
    looks = iter([False] * 4)

    dispatcher.run(lambda: next(looks, True))

    found = delivery(slow)
    assert found.holder is None
    assert (found.status, found.attempts) in [(DeliveryStatus.QUEUED, 0)]


def test_a_slow_one_whose_recipient_is_erased_is_kept_nowhere(write, deliver, delivery, at, count, test_key):
    slow = write("slow")
    deliver()
    erasure.erase_recipient(f"slow@{DOMAIN}", mode=Mode.TEST)

    at(seconds=SLOW_SECONDS + 1)
    deliver()

    assert delivery(slow).finished_at is not None
    assert count(Capture) == 0


def test_recipients_of_one_message_end_each_in_their_own_way(accept, deliver, test_key, at):
    to = [Address(f"{mailbox}@{DOMAIN}") for mailbox in ("delivered", "failed", "deferred")]
    notification = accept(key=test_key, to=[*to, Address("ann@example.org")])
    deliver()
    at(seconds=2)
    deliver()

    found = notifications.get(notification.id, key=test_key)
    assert [one.status for one in found.deliveries] == [SENT, FAILED, SENT, SENT]
    assert found.status is NotificationStatus.PARTIAL


class TestBesideLiveMail:
    @pytest.fixture
    def relay(self, tmp_path: Path) -> Iterator[Relay]:
        """A relay in a process of its own."""
        with Relay(tmp_path) as relay:
            yield relay

    @pytest.fixture
    def settings(self, settings: Settings, relay: Relay) -> Settings:
        return replace(settings, mail_server=relay.host, mail_port=relay.port, mail_timeout=5.0, mail_deadline=10.0)

    def test_the_relay_hears_of_none_of_it_and_live_mail_is_sent_before_the_slow_are(
        self, app: Flask, accept, write, relay, delivery, at, count
    ):
        large = Upload("a.bin", "application/octet-stream", "A" * 8_000_000)
        slow = [write(f"slow+{number}", attachments=[large]) for number in range(12)]
        live: list[Notification] = []

        def watch() -> bool:
            held = {delivery(one).status for one in slow}
            if held == {SENDING} and not live:
                live.append(accept(attachments=[large]))
            if live and delivery(live[0]).status is SENT:
                at(seconds=SLOW_SECONDS + 1)  # not before: the clock stood still
            return held == {SENT}

        Dispatcher(app).run(watch)

        assert len(relay.messages()) == 1
        assert count(Capture) == len(slow)
