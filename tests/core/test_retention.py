"""Contents and notifications go when they are old enough, and not before."""

from dataclasses import replace
from datetime import timedelta

import pytest

from api.core import batches, clock, lifecycle, notifications, retention
from api.core.attachments import Attachment
from api.core.batches import Batch
from api.core.claim import Address
from api.core.errors import Gone, NotFound
from api.core.models import Attempt, Content, Delivery, Notification, Tag
from api.core.retention import Retention
from api.core.uploads import Upload
from tests.conftest import GREYLISTED, REFUSED, SENT

FILE = Upload("a.txt", "text/plain", "YQ==")


@pytest.fixture
def keep(app):
    """Keep contents and notifications for so many days."""

    def keep(*, content=None, metadata=None):
        days = {"retain_content": content, "retain_metadata": metadata}
        times = {name: number and timedelta(days=number) for name, number in days.items()}
        app.extensions["postroom.policy"] = replace(app.extensions["postroom.policy"], **times)

    return keep


@pytest.fixture
def sent(accept, claim, settle):
    """Accept a message and have it end like this."""

    def sent(*results, **message):
        to = [Address(f"user{number}@example.org") for number in range(len(results))]
        notification = accept(to=to, **message)
        for held, result in zip(claim(), results, strict=True):
            settle(held, result)
        return notification

    return sent


def test_by_default_contents_are_kept_for_thirty_days_and_the_rest_for_ever(app):
    rules = app.extensions["postroom.policy"]

    assert (rules.retain_content, rules.retain_metadata) == (timedelta(days=30), None)


def test_contents_and_files_go_so_many_days_after_the_end(keep, sent, key, count, at):
    keep(content=3)
    notification = sent(SENT, tags=["a"], metadata={"order": 7}, attachments=[FILE])

    at(days=2, hours=23)
    Retention().enforce()
    assert lifecycle.content(notification.id, key=key).text == "Good day.\n"
    at(days=3, hours=1)
    Retention().enforce()

    assert count(Content) == count(Attachment) == 0
    with pytest.raises(Gone):
        lifecycle.content(notification.id, key=key)
    kept = notifications.get(notification.id, key=key)
    assert (kept.subject, kept.tags, kept.metadata_, kept.status) == (None, ["a"], {"order": 7}, "sent")
    assert kept.deliveries[0].recipient == "user0@example.org"
    assert kept.deliveries[0].history[0].reply


def test_the_days_count_from_the_last_recipients_end(keep, sent, claim, settle, count, at):
    keep(content=3)
    sent(SENT, GREYLISTED)
    at(days=2)
    settle(claim()[0], REFUSED)

    at(days=4)
    Retention().enforce()
    assert count(Content) == 1
    at(days=5, hours=1)
    Retention().enforce()
    assert count(Content) == 0


def test_what_has_not_ended_is_kept_however_old_it_is(keep, accept, claim, count, at):
    keep(content=1, metadata=1)
    accept(send_at=clock.utcnow() + timedelta(days=300))

    at(days=299)
    Retention().enforce()

    assert count(Content) == count(Notification) == 1
    at(days=300, hours=1)
    assert len(claim()) == 1


def test_whole_notifications_go_with_all_that_belongs_to_them(keep, sent, key, count, at):
    keep(metadata=90)
    notification = sent(SENT, REFUSED, tags=["a"], attachments=[FILE])

    at(days=89)
    Retention().enforce()
    assert count(Notification) == 1
    at(days=91)
    Retention().enforce()

    assert [count(table) for table in (Notification, Content, Attachment, Delivery, Attempt, Tag)] == [0] * 6
    with pytest.raises(NotFound):
        notifications.get(notification.id, key=key)


def test_a_batch_goes_with_the_last_of_its_messages(keep, key, claim, settle, count, at):
    keep(metadata=1)
    messages = [{"to": [Address(f"user{number}@example.org")]} for number in range(2)]
    batches.accept(key=key, messages=messages, partly=False, subject="a", text="b")
    first, second = claim()
    settle(first, SENT)
    at(hours=12)
    settle(second, SENT)

    at(days=1, hours=1)
    Retention().enforce()
    assert (count(Notification), count(Batch)) == (1, 1)
    at(days=2)
    Retention().enforce()
    assert (count(Notification), count(Batch)) == (0, 0)


def test_without_a_setting_nothing_ever_goes(keep, sent, count, at):
    keep()
    sent(SENT)
    at(days=3650)

    Retention().enforce()

    assert count(Content) == count(Notification) == 1


def test_more_than_a_batch_goes_in_one_round_past_what_stays(keep, accept, claim, settle, count, at, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "ROUND_SECONDS", 60)
    keep(content=1)
    for number in range(10):
        ahead = timedelta(days=30) if number in (0, 1, 2, 5) else timedelta()
        accept(send_at=clock.utcnow() + ahead)
    for held in claim():
        settle(held, SENT)
    at(days=2)

    Retention().enforce()

    assert count(Content) == 4


def test_a_round_that_ran_out_of_time_goes_on_where_it_was(keep, sent, count, at, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 1)
    monkeypatch.setattr(retention, "ROUND_SECONDS", 0)
    keep(content=1)
    for _ in range(3):
        sent(SENT)
    at(days=2)
    look = Retention()
    left = []
    for _ in range(3):
        look.enforce()
        left.append(count(Content))

    assert left == [2, 1, 0]


def test_large_files_are_deleted_a_few_at_a_time(keep, sent, count, at, monkeypatch):
    monkeypatch.setattr(retention, "BATCH_BYTES", 10)
    keep(content=1)
    for _ in range(4):
        sent(SENT, attachments=[Upload("a.bin", "a/b", "AAAAAAAA")])  # six bytes
    at(days=2)
    monkeypatch.setattr(retention, "ROUND_SECONDS", 0)
    look = Retention()

    left = []
    for _ in range(2):
        look.enforce()
        left.append(count(Attachment))

    assert left == [2, 0]
