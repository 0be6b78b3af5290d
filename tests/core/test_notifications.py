"""Accepting, finding and following notifications."""

from dataclasses import replace

import pytest
from sqlalchemy import delete

from api.core import notifications, search
from api.core.claim import Address
from api.core.db import transact
from api.core.errors import BadCursor, Invalid, MissingVariables, NotAllowed, NotFound
from api.core.models import Content, Delivery, Notification
from api.core.status import of
from schemas.vocabulary import DeliveryStatus, NotificationStatus
from tests.conftest import GREYLISTED, REFUSED, SENT

D, N = DeliveryStatus, NotificationStatus


def test_an_accepted_message_is_frozen_with_its_id_and_prefix(accept):
    notification = accept(template="welcome", subject=None, text=None, data=_user("Ann"))

    assert notification.subject.startswith("[Postroom] ")
    assert notification.message_id == f"<{notification.id}@example.org>"
    assert notification.template_version
    assert notification.status is N.QUEUED


def test_every_missing_variable_is_named_and_nothing_is_stored(accept, count):
    with pytest.raises(MissingVariables) as missing:
        accept(template="welcome", subject=None, text=None, data={})

    assert next(iter(missing.value.errors)).pointer.startswith("/data/user")
    assert count(Notification) == count(Content) == count(Delivery) == 0


def test_one_address_counts_once_where_it_stands_first(accept):
    notification = accept(
        to=[Address("ann@example.org"), Address("ANN@example.org")],
        cc=[Address("ann@EXAMPLE.org"), Address("bob@example.org")],
        bcc=[Address("bob@example.org")],
    )

    assert [(one.recipient, one.kind) for one in notification.deliveries] == [
        ("ann@example.org", "to"),
        ("bob@example.org", "cc"),
    ]


def test_an_international_domain_goes_to_the_domain_of_idna_2008(accept):
    assert accept(to=[Address("ann@straße.de")]).deliveries[0].recipient == "ann@xn--strae-oqa.de"


def test_every_bad_address_is_named_with_its_pointer(accept, count):
    with pytest.raises(Invalid) as invalid:
        accept(to=[Address("ann@example.org"), Address("ann@localhost")], bcc=[Address("ü@example.org")])

    assert [error.pointer for error in invalid.value.errors] == ["/to/1/email", "/bcc/0/email"]
    assert count(Notification) == 0


def test_more_than_fifty_recipients_are_too_many(accept):
    with pytest.raises(Invalid):
        accept(to=[Address(f"user{number}@example.org") for number in range(51)])
    assert len(accept(to=[Address(f"user{number}@example.org") for number in range(50)]).deliveries) == 50


@pytest.mark.parametrize("sender", ["postroom@example.org", "POSTROOM@example.org", "anybody@example.net"])
def test_a_sender_on_the_list_may_send(accept, sender):
    assert accept(sender=Address(sender))


@pytest.mark.parametrize("sender", ["boss@example.org", "postroom@sub.example.org", "x@badexample.net"])
def test_a_sender_off_the_list_may_not(accept, count, sender):
    with pytest.raises(NotAllowed):
        accept(sender=Address(sender))
    assert count(Notification) == 0


def test_without_a_configured_sender_the_request_must_name_one(accept, app):
    app.extensions["postroom.policy"] = replace(app.extensions["postroom.policy"], sender=None)

    with pytest.raises(Invalid) as invalid:
        accept()
    assert invalid.value.errors[0].pointer == "/from"


def test_an_unknown_template_is_a_wrong_field(accept):
    with pytest.raises(Invalid) as invalid:
        accept(template="../../etc/passwd", subject=None, text=None)
    assert invalid.value.errors[0].pointer == "/template"


def test_a_notification_of_the_other_mode_is_not_found(accept, test_key):
    with pytest.raises(NotFound):
        notifications.get(accept().id, key=test_key)


@pytest.mark.parametrize(
    ("deliveries", "word"),
    [
        ([D.QUEUED], N.QUEUED),
        ([D.SENT, D.QUEUED], N.QUEUED),
        ([D.SENDING, D.DEFERRED], N.SENDING),
        ([D.SENT, D.DEFERRED, D.FAILED], N.DEFERRED),
        ([D.SENT, D.SENT], N.SENT),
        ([D.SENT, D.FAILED], N.PARTIAL),
        ([D.CANCELLED, D.CANCELLED], N.CANCELLED),
        ([D.EXPIRED, D.SUPPRESSED], N.PARTIAL),
    ],
)
def test_a_status_is_that_of_the_least_finished_recipient(deliveries, word, at):
    assert of(deliveries, send_at=None, now=at()) is word


def test_what_waits_for_its_time_is_scheduled(at):
    now = at()
    later = at(hours=1)
    assert of([D.QUEUED], send_at=later, now=now) is N.SCHEDULED
    assert of([D.QUEUED], send_at=later, now=later) is N.QUEUED


@pytest.fixture
def various(accept, claim, settle):
    """One notification of each kind that the outbox can make here."""
    found = {}
    for name, results in {
        N.SENT: [SENT],
        N.FAILED: [REFUSED],
        N.DEFERRED: [GREYLISTED],
        N.PARTIAL: [SENT, REFUSED],
    }.items():
        found[name] = accept(to=[Address(f"{name}{number}@example.org") for number in range(len(results))])
        for held, result in zip(claim(), results, strict=True):
            settle(held, result)
    found[N.SENDING] = accept()
    claim()
    found[N.QUEUED] = accept(tags=["orders", "late"], template="welcome", subject=None, text=None, data=_user("Bob"))
    return found


@pytest.mark.parametrize("wanted", [N.SENT, N.FAILED, N.DEFERRED, N.PARTIAL, N.SENDING, N.QUEUED])
def test_a_search_by_status_finds_what_the_resource_says(various, key, wanted):
    assert [one.id for one in search.find(key=key, wanted=wanted).data] == [various[wanted].id]


@pytest.mark.parametrize("wanted", [N.SCHEDULED, N.CANCELLED, N.EXPIRED, N.SUPPRESSED])
def test_a_search_by_a_status_that_nothing_has_finds_nothing(various, key, wanted):
    assert search.find(key=key, wanted=wanted).data == []


def test_a_search_goes_by_recipient_template_tag_and_time(various, key, at):
    ids = lambda **query: [one.id for one in search.find(key=key, **query).data]  # noqa: E731 -- a local shorthand

    assert ids(recipient="FAILED0@example.org") == [various[N.FAILED].id]
    assert ids(template="welcome") == [various[N.QUEUED].id]
    assert ids(tag="late") == [various[N.QUEUED].id]
    assert ids(tag="late", recipient="failed0@example.org") == []
    assert ids(since=at(hours=1)) == []
    assert len(ids(until=at(hours=1))) == len(various)


def test_pages_follow_each_other_newest_first_without_a_gap(accept, key):
    accepted = [accept().id for _ in range(7)]
    seen, after = [], None
    while True:
        page = search.find(key=key, limit=3, after=after)
        seen += [one.id for one in page.data]
        after = page.next
        if after is None:
            break

    assert seen == accepted[::-1]


def test_an_altered_cursor_is_refused(accept, key):
    for _ in range(3):
        accept()
    cursor = search.find(key=key, limit=1).next
    assert cursor is not None
    for position in range(len(cursor)):
        altered = cursor[:position] + ("A" if cursor[position] != "A" else "B") + cursor[position + 1 :]
        with pytest.raises(BadCursor):
            search.find(key=key, after=altered)
    for other in ("", "é", cursor + "A", cursor[:-1], "=" * 28):
        with pytest.raises(BadCursor):
            search.find(key=key, after=other)


def test_what_fails_inside_the_transaction_leaves_nothing(app, accept, key, count):
    notification = accept()

    def work(session):
        session.execute(delete(Notification).where(Notification.id == notification.id))
        raise RuntimeError("anything")

    with pytest.raises(RuntimeError):
        transact(work)
    assert count(Notification) == 1


def _user(name: str) -> dict[str, object]:
    return {"user": {"username": name.lower(), "name": name, "email": f"{name.lower()}@example.org"}}


def test_a_search_by_recipient_knows_other_spellings_of_the_address(accept, key):
    notification = accept(to=[Address("ann@straße.de")])

    for spelling in ("ann@straße.de", "ANN@xn--strae-oqa.de"):
        assert [one.id for one in search.find(key=key, recipient=spelling).data] == [notification.id]
    assert search.find(key=key, recipient="no address").data == []
