"""What a caller may still do with a notification that was accepted."""

import threading
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from api.core import clock, erasure, lifecycle, notifications, outbox
from api.core.claim import Address
from api.core.db import db, transact
from api.core.errors import Conflict, Gone, Invalid, NotFound, StaleVersion
from api.core.models import Delivery, Notification
from schemas.vocabulary import DeliveryStatus, Mode, NotificationStatus
from tests.conftest import GREYLISTED, REFUSED, RELAY_DOWN, SENT

D, N = DeliveryStatus, NotificationStatus
LEASE = timedelta(minutes=16)


@pytest.fixture
def statuses(key):
    """Read the statuses of a notification's recipients afresh."""

    def statuses(notification):
        return [one.status for one in notifications.get(notification.id, key=key).deliveries]

    return statuses


@pytest.fixture
def ended(accept, claim, settle):
    """Accept a message whose recipients, one for each result, end like this; None leaves one waiting."""

    def ended(*results, **message):
        to = [Address(f"user{number}@example.org") for number in range(len(results))]
        notification = accept(to=to, **message)
        for held, result in zip(claim(), results, strict=False):
            if result is not None:
                settle(held, result)
            else:
                transact(partial(outbox.release, claims=[held]))
        return notification

    return ended


class TestScheduling:
    def test_nothing_is_tried_before_send_at(self, accept, claim, at):
        notification = accept(send_at=clock.utcnow() + timedelta(hours=1))

        assert notification.status is N.SCHEDULED
        assert notification.deliveries[0].due_at == notification.send_at
        at(minutes=59)
        assert claim() == []
        at(minutes=61)
        assert [held.notification_id for held in claim()] == [notification.id]

    def test_a_time_that_has_passed_means_now_and_jumps_no_queue(self, accept, claim):
        first = accept()
        late = accept(send_at=clock.utcnow() - timedelta(days=400))

        assert late.status is N.QUEUED
        assert late.deliveries[0].due_at == late.created_at
        assert [held.notification_id for held in claim()] == [first.id, late.id]

    def test_a_scheduled_message_is_given_up_as_late_after_its_start_as_any_other(self, accept, app):
        give_up = app.extensions["postroom.policy"].schedule.give_up
        send_at = clock.utcnow() + timedelta(days=30)

        assert accept(send_at=send_at).deliveries[0].expires_at == send_at + give_up

    @pytest.mark.parametrize(("days", "is_sooner"), [(1, True), (20, False)])
    def test_a_delivery_expires_when_the_caller_or_the_operator_says_whichever_is_sooner(self, accept, days, is_sooner):
        expires_at = clock.utcnow() + timedelta(days=days)

        delivery = accept(expires_at=expires_at).deliveries[0]

        assert (delivery.expires_at == expires_at) is is_sooner
        assert delivery.expires_at <= expires_at

    def test_what_the_caller_lets_expire_is_not_sent_after_that(self, accept, claim, statuses, at):
        notification = accept(expires_at=clock.utcnow() + timedelta(minutes=5))
        at(minutes=6)

        assert claim() == []
        assert statuses(notification) == [D.EXPIRED]


class TestCancelling:
    def test_what_waits_is_cancelled_and_never_sent(self, accept, claim, key, at):
        for notification in (accept(), accept(send_at=clock.utcnow() + timedelta(hours=1))):
            cancelled = lifecycle.cancel(notification.id, key=key)
            assert cancelled.status is N.CANCELLED
            assert cancelled.finished_at is not None

        at(hours=2)
        assert claim() == []

    def test_what_was_deferred_is_cancelled(self, ended, key):
        assert lifecycle.cancel(ended(GREYLISTED).id, key=key).status is N.CANCELLED

    @pytest.mark.parametrize("results", [[SENT], [REFUSED], [SENT, REFUSED]])
    def test_what_is_finished_is_a_conflict_and_stays(self, ended, key, statuses, results):
        notification = ended(*results)
        before = statuses(notification)

        with pytest.raises(Conflict):
            lifecycle.cancel(notification.id, key=key)
        assert statuses(notification) == before

    def test_twice_is_a_conflict(self, accept, key):
        notification = accept()
        lifecycle.cancel(notification.id, key=key)

        with pytest.raises(Conflict, match="cancelled"):
            lifecycle.cancel(notification.id, key=key)

    def test_what_is_being_sent_is_a_conflict_and_goes_on(self, accept, claim, settle, key, statuses):
        notification = accept()
        [held] = claim()

        with pytest.raises(Conflict, match="sending"):
            lifecycle.cancel(notification.id, key=key)
        settle(held, GREYLISTED)
        assert statuses(notification) == [D.DEFERRED]

    def test_while_one_is_being_sent_to_what_was_deferred_is_not_cancelled(self, ended, claim, key, statuses, at):
        notification = ended(GREYLISTED, GREYLISTED)
        at(hours=1)
        claim(limit=1)

        with pytest.raises(Conflict):
            lifecycle.cancel(notification.id, key=key)
        assert sorted(statuses(notification)) == [D.DEFERRED, D.SENDING]

    def test_of_a_message_that_is_still_queued_for_some_the_rest_is_cancelled(
        self, accept, claim, settle, key, statuses
    ):
        notification = accept(to=[Address(f"user{number}@example.org") for number in range(3)])
        first, second = claim(limit=2)
        settle(first, SENT)

        cancelled = lifecycle.cancel(notification.id, key=key)

        assert cancelled.status is N.SENDING
        assert statuses(notification) == [D.SENT, D.SENDING, D.CANCELLED]
        settle(second, GREYLISTED)  # the one on its way is not tried again
        assert statuses(notification) == [D.SENT, D.CANCELLED, D.CANCELLED]

    def test_an_unknown_one_and_the_other_modes_are_not_found(self, accept, key, test_key):
        for steer in (lifecycle.cancel, lifecycle.retry, lifecycle.content):
            with pytest.raises(NotFound):
                steer(uuid4(), key=key)
            with pytest.raises(NotFound):
                steer(accept().id, key=test_key)

    def test_a_race_with_a_claim_has_one_winner_and_the_answer_says_who(self, app, accept, key, holder, statuses):
        for _ in range(25):
            notification = accept()
            start = threading.Barrier(2)
            told: dict[str, Any] = {}

            def cancel(notification=notification, start=start, told=told):
                with app.app_context():
                    start.wait()
                    try:
                        told["cancelled"] = lifecycle.cancel(notification.id, key=key).status is N.CANCELLED
                    except Conflict:
                        told["cancelled"] = False

            def claim(start=start, told=told):
                with app.app_context():
                    start.wait()
                    told["claims"] = transact(
                        lambda session: outbox.claim(session, holder=holder, transport="default", limit=5, lease=LEASE)
                    )

            threads = [threading.Thread(target=work) for work in (cancel, claim)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            assert told["cancelled"] == (told["claims"] == [])
            assert statuses(notification) == [D.CANCELLED if told["cancelled"] else D.SENDING]


class TestRetrying:
    def test_what_failed_is_queued_again_at_once_and_who_was_sent_to_is_not(
        self, ended, claim, settle, key, statuses, at
    ):
        notification = ended(SENT, REFUSED)
        moment = at(days=9)

        retried = lifecycle.retry(notification.id, key=key)

        assert retried.status is N.QUEUED
        assert retried.finished_at is None
        assert retried.deliveries[1].due_at == moment
        [held] = claim()
        assert (held.recipient, held.attempt) == ("user1@example.org", 2)
        settle(held, SENT)
        assert statuses(notification) == [D.SENT, D.SENT]

    def test_what_expired_gets_the_time_of_a_new_message(self, accept, claim, key, at, app):
        notification = accept()
        moment = at(days=6)
        claim()

        [delivery] = lifecycle.retry(notification.id, key=key).deliveries

        assert delivery.expires_at == moment + app.extensions["postroom.policy"].schedule.give_up
        assert len(claim()) == 1

    def test_the_callers_own_end_still_holds(self, ended, key, at):
        expires_at = clock.utcnow() + timedelta(hours=2)
        notification = ended(REFUSED, expires_at=expires_at)

        assert lifecycle.retry(notification.id, key=key).deliveries[0].expires_at == expires_at

    def test_after_the_callers_own_end_it_is_a_conflict(self, ended, key, statuses, at):
        notification = ended(REFUSED, expires_at=clock.utcnow() + timedelta(hours=2))
        at(hours=3)

        with pytest.raises(Conflict, match="expires_at"):
            lifecycle.retry(notification.id, key=key)
        assert statuses(notification) == [D.FAILED]

    @pytest.mark.parametrize("results", [[SENT], [GREYLISTED], [None], [SENT, GREYLISTED]])
    def test_without_a_failed_recipient_it_is_a_conflict(self, ended, key, statuses, results):
        notification = ended(*results)
        before = statuses(notification)

        with pytest.raises(Conflict):
            lifecycle.retry(notification.id, key=key)
        assert statuses(notification) == before

    def test_what_was_cancelled_stays_cancelled(self, accept, key):
        notification = accept()
        lifecycle.cancel(notification.id, key=key)

        with pytest.raises(Conflict):
            lifecycle.retry(notification.id, key=key)

    def test_without_its_content_it_is_gone(self, ended, key, statuses):
        notification = ended(REFUSED)
        erasure.erase_recipient("user0@example.org", mode=Mode.LIVE)

        with pytest.raises(Gone):
            lifecycle.retry(notification.id, key=key)
        assert statuses(notification) == [D.FAILED]

    def test_who_was_erased_is_not_written_to_while_others_are_still_sent_to(self, ended, key, statuses):
        notification = ended(REFUSED, GREYLISTED)
        erasure.erase_recipient("user0@example.org", mode=Mode.LIVE)

        with pytest.raises(Gone):
            lifecycle.retry(notification.id, key=key)
        assert statuses(notification) == [D.FAILED, D.DEFERRED]

    def test_a_parked_message_gets_three_more_workers(self, accept, claim, key, statuses, at):
        notification = accept()
        for died in range(3):
            claim(by=uuid4())
            at(minutes=20 * (died + 1))
        claim(by=uuid4())
        assert statuses(notification) == [D.FAILED]

        assert lifecycle.retry(notification.id, key=key).deliveries[0].lapses == 0


class TestRescheduling:
    def test_it_is_sent_at_the_new_time(self, accept, claim, key, at, app):
        notification = accept()
        send_at = clock.utcnow() + timedelta(days=3)

        moved = lifecycle.reschedule(notification.id, key=key, send_at=send_at)

        assert (moved.status, moved.send_at) == (N.SCHEDULED, send_at)
        give_up = app.extensions["postroom.policy"].schedule.give_up
        assert [(one.due_at, one.expires_at) for one in moved.deliveries] == [(send_at, send_at + give_up)]
        assert claim() == []
        at(days=3, seconds=1)
        assert len(claim()) == 1

    def test_none_means_now(self, accept, claim, key, app):
        notification = accept(send_at=clock.utcnow() + timedelta(days=3))
        nudged = []
        app.extensions["postroom.nudge"] = lambda: nudged.append(True)

        moved = lifecycle.reschedule(notification.id, key=key, send_at=None)

        assert (moved.status, moved.send_at) == (N.QUEUED, None)
        assert len(claim()) == 1
        assert nudged

    def test_the_callers_end_stays_and_bounds_it(self, accept, key):
        expires_at = clock.utcnow() + timedelta(days=2)
        notification = accept(expires_at=expires_at)

        moved = lifecycle.reschedule(notification.id, key=key, send_at=clock.utcnow() + timedelta(days=1))
        assert moved.deliveries[0].expires_at == expires_at
        with pytest.raises(Invalid) as invalid:
            lifecycle.reschedule(notification.id, key=key, send_at=expires_at)
        assert [error.pointer for error in invalid.value.errors] == ["/send_at"]
        with pytest.raises(Invalid):
            lifecycle.reschedule(notification.id, key=key, send_at=clock.utcnow() + timedelta(days=367))

    @pytest.mark.parametrize("results", [[SENT], [REFUSED], [GREYLISTED], [SENT, None], [GREYLISTED, None]])
    def test_once_anything_was_tried_it_is_a_conflict(self, ended, key, results, count):
        notification = ended(*results)
        before = _times(notification)

        with pytest.raises(Conflict):
            lifecycle.reschedule(notification.id, key=key, send_at=clock.utcnow() + timedelta(days=1))
        assert _times(notification) == before
        assert notifications.get(notification.id, key=key).send_at is None

    def test_while_it_is_being_sent_it_is_a_conflict(self, accept, claim, key):
        notification = accept(to=[Address("ann@example.org"), Address("bob@example.org")])
        claim(limit=1)

        with pytest.raises(Conflict):
            lifecycle.reschedule(notification.id, key=key, send_at=clock.utcnow() + timedelta(days=1))
        assert notifications.get(notification.id, key=key).status is N.QUEUED

    def test_what_is_cancelled_cannot_be_moved(self, accept, key):
        notification = accept()
        lifecycle.cancel(notification.id, key=key)

        with pytest.raises(Conflict):
            lifecycle.reschedule(notification.id, key=key, send_at=None)

    def test_the_relays_fault_is_no_try(self, ended, key):
        assert lifecycle.reschedule(ended(RELAY_DOWN).id, key=key, send_at=None).status is N.QUEUED

    def test_who_was_erased_does_not_keep_the_others_from_being_moved(self, accept, key, statuses):
        send_at = clock.utcnow() + timedelta(days=1)
        notification = accept(to=[Address("ann@example.org"), Address("bob@example.org")], send_at=send_at)
        erasure.erase_recipient("ann@example.org", mode=Mode.LIVE)

        moved = lifecycle.reschedule(notification.id, key=key, send_at=send_at + timedelta(days=1))

        assert moved.status is N.SCHEDULED
        assert statuses(notification) == [D.CANCELLED, D.QUEUED]

    def test_a_stale_one_is_not_moved(self, accept, key):
        notification = accept()

        with pytest.raises(StaleVersion):
            lifecycle.reschedule(notification.id, key=key, send_at=None, is_current=lambda _notification: False)

    def test_a_race_with_a_claim_never_schedules_what_is_being_sent(self, app, accept, key, holder):
        send_at = clock.utcnow() + timedelta(days=1)
        for _ in range(25):
            notification = accept(to=[Address("ann@example.org"), Address("bob@example.org")])
            start = threading.Barrier(2)
            told: dict[str, Any] = {}

            def move(notification=notification, start=start, told=told):
                with app.app_context():
                    start.wait()
                    try:
                        lifecycle.reschedule(notification.id, key=key, send_at=send_at)
                        told["moved"] = True
                    except Conflict:
                        told["moved"] = False

            def claim(start=start, told=told):
                with app.app_context():
                    start.wait()
                    told["claims"] = transact(
                        lambda session: outbox.claim(session, holder=holder, transport="default", limit=5, lease=LEASE)
                    )

            threads = [threading.Thread(target=work) for work in (move, claim)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            assert told["moved"] == (told["claims"] == [])
            found = notifications.get(notification.id, key=key)
            assert found.status is (N.SCHEDULED if told["moved"] else N.SENDING)


class TestContent:
    def test_it_is_what_was_frozen_with_the_prefix(self, accept, key):
        notification = accept(subject="Hello", text="a\n", html="<p>a</p>")

        frozen = lifecycle.content(notification.id, key=key)

        assert (frozen.subject, frozen.text, frozen.html) == ("[Postroom] Hello", "a\n", "<p>a</p>")
        assert frozen.attachments == []

    def test_once_purged_it_is_gone(self, ended, key):
        notification = ended(SENT)
        erasure.erase_recipient("user0@example.org", mode=Mode.LIVE)

        with pytest.raises(Gone):
            lifecycle.content(notification.id, key=key)

    def test_what_is_only_waiting_to_be_purged_is_not_shown_either(self, accept, key):
        notification = accept(to=[Address("ann@example.org"), Address("bob@example.org")])
        erasure.erase_recipient("ann@example.org", mode=Mode.LIVE)

        with pytest.raises(Gone):
            lifecycle.content(notification.id, key=key)


def _times(notification: Notification) -> list[Any]:
    rows = db.session.query(Delivery.due_at, Delivery.expires_at, Delivery.status)
    return rows.filter(Delivery.notification_id == notification.id).order_by(Delivery.position).all()
