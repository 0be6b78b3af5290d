"""Files: measured before they are decoded, stored once, and held in memory within bounds."""

import base64
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import delete

from api.core import contents, erasure, lifecycle, outbox, uploads
from api.core.attachments import Attachment
from api.core.claim import Address
from api.core.db import transact
from api.core.errors import Invalid
from api.core.models import Content, Delivery, Notification
from api.core.uploads import Limits, Upload
from schemas.vocabulary import DeliveryStatus, Mode
from tests.conftest import SENT

KIB = 1024


def file(size: int = 5, **changes) -> Upload:
    content = base64.b64encode(bytes(number % 251 for number in range(size))).decode()
    return Upload(**{"filename": "a.bin", "content_type": "application/octet-stream", "content": content, **changes})


@pytest.fixture
def limits(app):
    """Let a message bring so much."""

    def limits(**numbers):
        rules = app.extensions["postroom.policy"]
        app.extensions["postroom.policy"] = replace(rules, attachments=Limits(**numbers))

    return limits


@pytest.mark.parametrize("size", [*range(10), 1000, 1001, 1002])
def test_the_size_is_known_before_anything_is_decoded(size):
    assert file(size).size() == size == len(uploads.decode([file(size)])[0].content)


def test_what_fits_exactly_is_accepted_and_a_byte_more_is_not(accept, limits, count):
    limits(size=10, total=15, count=2)

    accept(attachments=[file(10), file(5)])
    for files, pointers in [
        ([file(11)], ["/attachments/0/content"]),
        ([file(10), file(6)], ["/attachments"]),
        ([file(1)] * 3, ["/attachments"]),
        ([file(1), file(16), file(1)], ["/attachments", "/attachments/1/content", "/attachments"]),
    ]:
        with pytest.raises(Invalid) as invalid:
            accept(attachments=files)
        assert [error.pointer for error in invalid.value.errors] == pointers
    assert count(Notification) == 1
    assert count(Attachment) == 2


def test_what_is_too_large_is_never_decoded(accept, limits):
    limits(size=10)

    with pytest.raises(Invalid) as invalid:
        accept(attachments=[file(content="%" * 400)])  # decoding would find that it is no base64
    assert [error.code for error in invalid.value.errors] == ["too_large"]


def test_what_is_no_base64_is_refused_even_from_inside(accept, count):
    with pytest.raises(Invalid) as invalid:
        accept(attachments=[file(), file(content="%%%%")])
    assert [error.pointer for error in invalid.value.errors] == ["/attachments/1/content"]
    assert count(Notification) == 0


def test_a_file_is_stored_once_for_all_recipients_and_claimed_with_each(accept, claim, count):
    accept(
        to=[Address(f"user{number}@example.org") for number in range(5)],
        attachments=[file(3, filename="a"), file(4, filename="b", content_id="logo")],
    )

    claims = claim()

    assert count(Attachment) == 2
    assert len(claims) == 5
    assert {id(held.content) for held in claims} == {id(claims[0].content)}
    assert [(one.filename, one.content, one.content_id) for one in claims[0].content.attachments] == [
        ("a", b"\0\1\2", None),
        ("b", b"\0\1\2\3", "logo"),
    ]


def test_the_content_tells_of_the_files_without_their_bytes(accept, key):
    notification = accept(attachments=[file(3, filename="a"), file(4, filename="b", content_id="logo")])

    assert lifecycle.content(notification.id, key=key).attachments == [
        {"filename": "a", "content_type": "application/octet-stream", "size": 3, "content_id": None},
        {"filename": "b", "content_type": "application/octet-stream", "size": 4, "content_id": "logo"},
    ]


def test_files_go_with_the_content(accept, claim, settle, count):
    accept(attachments=[file()])
    settle(claim()[0], SENT)
    assert count(Attachment) == 1

    erasure.erase_recipient("ann@example.org", mode=Mode.LIVE)

    assert count(Attachment) == count(Content) == 0
    assert count(Notification) == 1


class TestMemory:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(contents, "MAX_ATTACHED", 10 * KIB)

    def test_a_holder_gets_only_as_many_files_as_it_has_room_for_and_the_rest_waits(
        self, accept, claim, settle, delivery
    ):
        heavy = [accept(attachments=[file(4 * KIB)]) for _ in range(4)]
        light = accept()

        first = claim()

        assert [held.notification_id for held in first] == [heavy[0].id, heavy[1].id, light.id]
        left = delivery(heavy[2])
        assert (left.status, left.attempts, left.holder, left.history) == (DeliveryStatus.QUEUED, 0, None, [])
        assert claim() == []
        settle(first[0], SENT)
        assert [held.notification_id for held in claim()] == [heavy[2].id]

    def test_others_have_room_of_their_own(self, accept, claim):
        heavy = [accept(attachments=[file(8 * KIB)]) for _ in range(2)]

        assert [held.notification_id for held in claim()] == [heavy[0].id]
        assert [held.notification_id for held in claim(by=uuid4())] == [heavy[1].id]

    def test_a_message_larger_than_all_the_room_is_still_sent_alone(self, accept, claim, settle):
        accept(attachments=[file(30 * KIB)])
        accept(attachments=[file(30 * KIB)])

        [held] = claim()
        assert claim() == []
        settle(held, SENT)
        assert len(claim()) == 1

    def test_one_message_to_many_counts_once(self, accept, claim):
        accept(to=[Address(f"user{number}@example.org") for number in range(20)], attachments=[file(8 * KIB)])

        assert len(claim()) == 20

    def test_what_waited_for_room_often_is_not_parked(self, accept, claim, delivery, settle):
        accept(attachments=[file(8 * KIB)])
        [held] = claim()
        waiting = accept(attachments=[file(8 * KIB)])
        for _ in range(outbox.MAX_LAPSES + 1):
            assert claim() == []

        settle(held, SENT)
        assert [held.attempt for held in claim()] == [1]
        assert delivery(waiting).lapses == 0


def test_a_notification_that_is_deleted_takes_its_files_along(accept, count):
    notification = accept(attachments=[file()])

    transact(lambda session: session.execute(delete(Notification).where(Notification.id == notification.id)))

    assert count(Attachment) == count(Delivery) == 0
