"""The outbox's state machine, verb by verb."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from api.core import addresses, clock, dispatchers, estate, journal, outbox, policy, settling, steering
from api.core.claim import Address, Hold, Settlement
from api.core.db import transact
from api.core.models import Attempt, Delivery
from schemas.vocabulary import DeliveryStatus, Outcome
from tests.conftest import GREYLISTED, LOST, REFUSED, RELAY_DOWN, SENT

D = DeliveryStatus
NOTHING = journal.Replay((), ())


def test_a_claim_takes_what_is_due_oldest_first_and_counts_the_attempt(accept, claim, delivery):
    first, second = accept(), accept()

    held = claim()

    assert [one.notification_id for one in held] == [first.id, second.id]
    assert [one.attempt for one in held] == [1, 1]
    assert delivery(first).status is DeliveryStatus.SENDING
    assert delivery(first).attempts == 1


def test_what_is_claimed_is_claimed_once(accept, claim):
    accept()

    assert len(claim()) == 1
    assert claim(by=uuid4()) == []


def test_a_claim_takes_no_more_than_its_limit(accept, claim):
    for _ in range(5):
        accept()

    assert len(claim(limit=3)) == 3
    assert len(claim(limit=3)) == 2


def test_each_recipient_is_a_delivery_of_its_own(accept, claim):
    accept(to=[Address("ann@example.org"), Address("bob@example.org")], bcc=[Address("eve@example.org")])

    assert sorted(one.recipient for one in claim()) == ["ann@example.org", "bob@example.org", "eve@example.org"]


@pytest.mark.parametrize(
    ("result", "status"),
    [(SENT, DeliveryStatus.SENT), (REFUSED, DeliveryStatus.FAILED), (GREYLISTED, DeliveryStatus.DEFERRED)],
)
def test_a_result_is_stored_with_the_relays_reply(accept, claim, settle, delivery, result, status):
    notification = accept()

    assert settle(claim()[0], result)

    settled = delivery(notification)
    assert settled.status is status
    assert [(one.code, one.enhanced_code, one.reply) for one in settled.history] == [
        (result.reply.code, result.reply.enhanced_code, result.reply.text)
    ]
    assert (settled.finished_at is None) == (status is DeliveryStatus.DEFERRED)


def test_what_breaks_a_rule_of_the_tables_undoes_the_whole_transaction(accept, claim, settle, delivery):
    notification = accept()
    held = claim()[0]
    stranger = Hold(uuid4(), held.token, attempt=1, transport=held.transport)

    def work(session):
        assert (
            settling.settle(
                session, [Settlement(held, SENT, clock.utcnow())], schedule=policy.current().schedule, rand=float
            )
            == []
        )
        settling.remember(session, [Settlement(stranger, SENT, clock.utcnow())])

    with pytest.raises(IntegrityError):
        transact(work, durable=False)

    assert delivery(notification).status is DeliveryStatus.SENDING
    assert delivery(notification).history == []
    assert settle(held, SENT)
    assert len(delivery(notification).history) == 1


def test_a_deferred_delivery_falls_due_after_the_first_pause_and_not_before(accept, claim, settle, at):
    accept()
    settle(claim()[0], GREYLISTED)

    at(seconds=290)
    assert claim() == []
    at(seconds=310)
    assert [one.attempt for one in claim()] == [2]


def test_a_late_worker_cannot_mark_a_delivery_sent(accept, claim, settle, delivery, at):
    notification = accept()
    late = claim()[0]
    at(minutes=17)
    fresh = claim(by=uuid4())[0]

    assert not settle(late, REFUSED)
    assert delivery(notification).status is DeliveryStatus.SENDING
    assert delivery(notification).history == []
    assert settle(fresh, SENT)


def test_a_worker_that_lost_its_claim_is_not_let_into_data(accept, claim, at):
    accept()
    late = claim()[0]
    at(minutes=17)
    fresh = claim(by=uuid4())[0]
    lease = timedelta(minutes=16)

    assert not transact(lambda session: outbox.confirm(session, late, lease=lease))
    assert transact(lambda session: outbox.confirm(session, fresh, lease=lease))


def test_a_clock_that_jumps_ahead_does_not_take_a_delivery_from_who_is_sending_it(accept, claim, at):
    accept()
    assert len(claim()) == 1

    at(days=2)

    assert claim() == []


def test_a_second_copy_is_possible_only_if_the_dead_worker_was_let_into_data(accept, claim, delivery, at):
    before_data, in_data = accept(), accept()
    first, second = claim()
    transact(lambda session: outbox.confirm(session, second, lease=timedelta(minutes=16)))
    at(minutes=20)

    assert {one.delivery_id for one in claim(by=uuid4())} == {first.delivery_id, second.delivery_id}

    assert not delivery(before_data).possible_duplicate
    assert delivery(in_data).possible_duplicate


def test_a_connection_lost_after_the_dot_is_tried_again_as_a_possible_duplicate(accept, claim, settle, delivery):
    notification = accept()

    settle(claim()[0], LOST)

    assert delivery(notification).status is DeliveryStatus.DEFERRED
    assert delivery(notification).possible_duplicate
    assert delivery(notification).history[0].outcome is Outcome.UNKNOWN


def test_the_relays_fault_burns_no_attempt(accept, claim, settle, delivery):
    notification = accept()

    settle(claim()[0], RELAY_DOWN)

    assert delivery(notification).status is DeliveryStatus.QUEUED
    assert delivery(notification).attempts == 0
    assert delivery(notification).history[0].outcome is Outcome.RELEASED
    assert [one.attempt for one in claim()] == [1]


def test_a_released_retry_goes_back_to_deferred(accept, claim, settle, delivery, at):
    notification = accept()
    settle(claim()[0], GREYLISTED)
    at(minutes=7)

    settle(claim()[0], RELAY_DOWN)

    assert delivery(notification).status is DeliveryStatus.DEFERRED
    assert delivery(notification).attempts == 1


def test_what_was_not_begun_is_given_back_without_a_trace(accept, claim, delivery):
    notification = accept()
    held = claim()

    transact(lambda session: outbox.release(session, held))

    assert delivery(notification).status is DeliveryStatus.QUEUED
    assert delivery(notification).attempts == 0
    assert delivery(notification).history == []
    assert len(claim(by=uuid4())) == 1


def test_a_message_that_kills_its_workers_is_parked_after_three_claims(accept, claim, delivery, at):
    notification = accept()
    for died in range(3):
        assert len(claim(by=uuid4())) == 1
        at(minutes=20 * (died + 1))

    assert claim(by=uuid4()) == []

    parked = delivery(notification)
    assert parked.status is DeliveryStatus.FAILED
    assert "parked" in parked.history[0].reply


def test_what_a_worker_died_with_is_claimed_last_and_not_held_against_it_twice(accept, claim, delivery, at):
    old = accept()
    claim(by=uuid4())
    at(minutes=20)
    young = accept()
    worker = uuid4()
    assert [held.notification_id for held in claim(by=worker)] == [young.id, old.id]

    assert transact(lambda session: estate.spare(session, worker, most=1)) == 1

    assert (delivery(old).status, delivery(young).status) == (DeliveryStatus.DEFERRED, DeliveryStatus.SENDING)
    at(minutes=40)
    assert [held.notification_id for held in claim(by=uuid4())] == [old.id, young.id]
    assert (delivery(old).lapses, delivery(young).lapses) == (1, 1)


def test_a_result_forgets_the_workers_that_died_before_it(accept, claim, settle, delivery, at):
    notification = accept()
    for died in range(2):
        claim(by=uuid4())
        at(minutes=20 * (died + 1))
    settle(claim(by=uuid4())[0], GREYLISTED)

    assert delivery(notification).lapses == 0


def test_what_has_expired_is_not_sent(accept, claim, delivery, at):
    notification = accept()
    at(days=6)

    assert claim() == []
    assert delivery(notification).status is DeliveryStatus.EXPIRED
    assert delivery(notification).attempts == 0


def test_what_expires_while_nothing_can_be_sent_is_swept(accept, delivery, at):
    notification = accept()
    at(days=6)

    assert transact(outbox.expire) == 1
    assert delivery(notification).status is DeliveryStatus.EXPIRED


def test_a_retry_that_would_come_too_late_expires_in_time(accept, claim, settle, delivery, at):
    notification = accept()
    moment = at(days=4, hours=23, minutes=59)
    held = claim()[0]

    settle(held, GREYLISTED)

    assert delivery(notification).due_at == delivery(notification).expires_at
    assert delivery(notification).due_at - moment <= timedelta(minutes=2)


def test_withdrawing_cancels_what_waits_and_marks_what_is_being_sent(accept, claim, settle, delivery):
    sending = accept()
    held = claim()[0]
    waiting = accept()

    mine = Delivery.recipient_key == addresses.key("ann@example.org")
    assert transact(lambda session: steering.withdraw(session, mine)) == 1

    assert delivery(waiting).status is DeliveryStatus.CANCELLED
    assert delivery(sending).status is DeliveryStatus.SENDING
    assert not transact(lambda session: outbox.confirm(session, held, lease=timedelta(minutes=16)))
    settle(held, GREYLISTED)
    assert delivery(sending).status is DeliveryStatus.CANCELLED


@pytest.fixture
def bury(app):
    """Bury all dispatchers, as found with or without a journal; return how many deliveries fall due."""

    def bury(left=NOTHING):
        schedule = app.extensions["postroom.policy"].schedule

        def work(session):
            found = dispatchers.others(session, me=uuid4())
            return sum(dispatchers.bury(session, one, left, schedule=schedule) for one in found)

        return transact(work)

    return bury


def test_what_a_buried_dispatcher_held_falls_due_at_once(accept, claim, delivery, bury):
    notification = accept()
    claim(by=transact(dispatchers.register))

    assert bury() == 1
    assert delivery(notification).due_at <= clock.utcnow()
    [again] = claim(by=uuid4())
    assert again.attempt == 2
    assert not delivery(notification).possible_duplicate


def test_what_a_dead_dispatchers_journal_knew_is_stored(accept, claim, delivery, at, bury):
    accepted = [accept() for _ in range(3)]
    dead = transact(dispatchers.register)
    sent, begun, untouched = claim(by=dead)
    at(minutes=1)

    bury(journal.Replay((Settlement(sent, SENT, clock.utcnow()),), (begun,)))

    assert [held.delivery_id for held in claim(by=uuid4())] == [untouched.delivery_id, begun.delivery_id]
    assert [delivery(one).status for one in accepted] == [D.SENT, D.SENDING, D.SENDING]
    assert [delivery(one).possible_duplicate for one in accepted] == [False, True, False]


def test_what_a_dead_dispatcher_cannot_have_taken_up_is_not_blamed_for_its_death(accept, app, claim, delivery, bury):
    most = app.extensions["postroom.dispatch"].senders * dispatchers.TAKEN_UP
    accepted = [accept() for _ in range(most + 2)]

    begun, *_ = claim(by=transact(dispatchers.register))
    bury(journal.Replay((), (begun,)))

    claim(by=uuid4())
    assert [delivery(one).lapses for one in accepted] == [1] * (most + 1) + [0]
    untouched = delivery(accepted[-1])
    assert (untouched.status, untouched.attempts) == (D.SENDING, 1)
    assert [delivery(one).possible_duplicate for one in accepted] == [True] + [False] * (most + 1)


def test_what_kills_each_worker_that_begins_it_is_parked_alone(accept, claim, delivery, settle, bury):
    guilty, *others = [accept() for _ in range(4)]
    dead = 0
    while delivery(guilty).status is not D.FAILED:
        assert dead <= outbox.MAX_LAPSES
        for held in claim(by=transact(dispatchers.register)):
            if held.notification_id == guilty.id:
                bury(journal.Replay((), (held,)))
                dead += 1
                break
            settle(held, SENT)
    assert dead == outbox.MAX_LAPSES
    assert [delivery(one).status for one in others] == [D.SENT] * 3


def test_without_its_journal_all_that_a_dead_dispatcher_held_may_be_a_duplicate(accept, claim, delivery, at, bury):
    notification = accept()
    claim(by=transact(dispatchers.register))
    at(minutes=1)

    bury(None)
    claim(by=uuid4())

    assert delivery(notification).possible_duplicate


def test_a_buried_dispatcher_that_wakes_up_is_counted_again(holder, bury):
    bury()
    assert transact(dispatchers.alive) == 0

    transact(lambda session: dispatchers.beat(session, holder))

    assert transact(dispatchers.alive) == 1


def test_a_clock_that_was_ahead_leaves_nothing_stuck(accept, claim, settle, delivery, app, at):
    at(days=300)
    notification = accept()
    settle(claim()[0], GREYLISTED)
    at(seconds=1)
    schedule = app.extensions["postroom.policy"].schedule

    lease = timedelta(minutes=16)
    assert transact(lambda session: outbox.unstick(session, names=["default"], schedule=schedule, lease=lease)) == 1

    assert delivery(notification).due_at <= clock.utcnow() + lease


def test_history_counts_every_attempt(accept, claim, settle, count, at):
    accept()
    for minutes in (1, 10, 30):
        at(minutes=minutes)
        settle(claim()[0], GREYLISTED)

    assert count(Attempt) == 3
