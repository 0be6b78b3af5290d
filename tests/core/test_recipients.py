"""Recipients by their user, and the end of a person's data."""

from dataclasses import replace
from uuid import uuid4

import pytest

from api.core import contents, erasure, inbox, notifications, steering, users
from api.core.claim import Address
from api.core.db import db, transact
from api.core.errors import Invalid, NotFound
from api.core.models import Capture, Content, Delivery, Notification
from api.core.recipients import Registered
from api.core.rendering import Library
from schemas.vocabulary import DeliveryStatus, Mode
from tests.conftest import GREYLISTED, REFUSED, SENT


@pytest.fixture
def user(app, key):
    """Register a user without any mail."""
    app.extensions["postroom.policy"] = replace(app.extensions["postroom.policy"], admin=None, welcome=False)

    def user(username="ann", by=key, **more):
        return users.register(key=by, username=username, email=f"{username}@example.org", **more).user

    return user


@pytest.fixture
def frozen(app):
    """Return what a notification's mail will be made from."""
    return lambda notification: contents.load(db.session(), [notification.id])[notification.id]


@pytest.fixture
def templates(app, tmp_path):
    """A template in several languages."""
    for name, text in {"hi": "hello", "hi.de": "hallo", "hi.pt-BR": "oi"}.items():
        for ending in ("txt", "html", "subject.txt"):
            (tmp_path / f"{name}.{ending}").write_text(text)
    app.extensions["postroom.policy"] = replace(app.extensions["postroom.policy"], templates=Library([tmp_path]))


def test_mail_to_a_user_goes_to_their_address_under_their_name(accept, user, frozen):
    ann, bob = user(name="Ann, Jr."), user("bob")

    notification = accept(to=[Registered(ann.id)], cc=[Registered(bob.id), Address("eve@example.org")])

    assert [one.recipient for one in notification.deliveries] == [
        "ann@example.org",
        "bob@example.org",
        "eve@example.org",
    ]
    assert frozen(notification).to == (Address("ann@example.org", "Ann, Jr."),)
    assert frozen(notification).cc == (Address("bob@example.org"), Address("eve@example.org"))


def test_a_user_and_their_address_count_once(accept, user):
    ann = user()

    assert len(accept(to=[Registered(ann.id), Registered(ann.id)], bcc=[Address("ANN@example.org")]).deliveries) == 1


def test_every_unknown_user_is_named_and_nothing_is_stored(accept, user, test_key, count):
    other = user("eve", by=test_key)

    with pytest.raises(Invalid) as invalid:
        accept(to=[Registered(user().id), Registered(uuid4())], bcc=[Registered(other.id)])

    assert [error.pointer for error in invalid.value.errors] == ["/to/1/user_id", "/bcc/0/user_id"]
    assert count(Notification) == 0


@pytest.mark.parametrize(
    ("locales", "given", "text"),
    [
        (["de"], None, "hallo"),
        (["de"], "pt-BR", "oi"),
        (["de", "de"], None, "hallo"),
        (["de", "pt-BR"], None, "hello"),
        (["de", None], None, "hello"),
        ([None], None, "hello"),
        (["fr"], None, "hello"),
        (["de-AT"], None, "hallo"),
    ],
)
@pytest.mark.usefixtures("templates")
def test_the_language_is_that_of_the_users_where_they_agree(accept, user, frozen, templates, locales, given, text):
    to = [Registered(user(f"user{number}", locale=locale).id) for number, locale in enumerate(locales)]

    notification = accept(to=to, template="hi", subject=None, text=None, locale=given)

    assert frozen(notification).text == text


@pytest.mark.usefixtures("templates")
def test_a_bare_address_has_no_language_to_agree_with(accept, user, frozen):
    notification = accept(
        to=[Registered(user(locale="de").id)], cc=[Address("eve@example.org")], template="hi", subject=None, text=None
    )

    assert frozen(notification).text == "hello"


def test_a_message_to_one_user_is_about_them_and_goes_when_they_do(accept, user, key, claim, settle, count):
    ann = user()
    notification = accept(to=[Registered(ann.id)])
    settle(claim()[0], SENT)
    users.change(ann.id, key=key, version=None, email="ann@example.net")

    users.erase(ann.id, key=key)

    assert notifications.get(notification.id, key=key).subject is None
    assert count(Content) == 0


@pytest.mark.usefixtures("app")
class TestErasing:
    def erase(self, email="ann@example.org", mode=Mode.LIVE):
        erasure.erase_recipient(email, mode=mode)

    def test_their_mail_is_cancelled_and_forgotten_and_still_counted(self, accept, claim, settle, key, count):
        sent = accept(metadata={"name": "Ann"})
        settle(claim()[0], REFUSED)
        waiting = accept()

        self.erase("ANN@Example.org")

        assert count(Notification) == count(Delivery) == 2
        assert count(Content) == 0
        words = []
        for accepted in (sent, waiting):
            found = notifications.get(accepted.id, key=key)
            [delivery] = found.deliveries
            assert (found.subject, found.metadata_, delivery.recipient) == (None, {}, steering.ERASED)
            assert [attempt.reply for attempt in delivery.history] in ([], [steering.ERASED])
            words.append(delivery.status)
        assert words == [DeliveryStatus.FAILED, DeliveryStatus.CANCELLED]

    def test_others_and_the_other_mode_are_left_alone(self, accept, test_key, frozen):
        others = [accept(to=[Address("bob@example.org")]), accept(key=test_key)]

        self.erase()

        for other in others:
            assert frozen(other).subject == "[Postroom] Hello"

    def test_an_unknown_address_is_no_error_and_no_address_is(self):
        self.erase("nobody@example.org")
        self.erase("nobody@straße.de")
        for text in ("nobody", "[erased]", "a@localhost", ""):
            with pytest.raises(NotFound):
                self.erase(text)

    def test_a_reply_that_comes_after_the_erasure_is_forgotten_too(self, accept, claim, settle, key):
        notification = accept()
        [held] = claim()
        self.erase()
        assert settle(held, GREYLISTED)

        transact(erasure.purge)

        [delivery] = notifications.get(notification.id, key=key).deliveries
        assert delivery.status is DeliveryStatus.CANCELLED
        assert [attempt.reply for attempt in delivery.history] == [steering.ERASED]

    def test_captured_mail_to_them_goes_too(self, test_key, count):
        for mode, recipients in [
            (Mode.TEST, ["Ann@example.org"]),
            (Mode.TEST, ["bob@example.org", "ann@example.org"]),
            (Mode.TEST, ["joann@example.org"]),
            (Mode.TEST, ["a_n@example.org"]),
            (Mode.LIVE, ["ann@example.org"]),
        ]:
            inbox.capture(mode=mode, sender="a@example.org", recipients=recipients, raw=b"Subject: a\r\n\r\n")

        self.erase(mode=Mode.TEST)
        assert count(Capture) == 3
        self.erase("a_n@example.org", mode=Mode.TEST)
        assert count(Capture) == 2

    def test_a_great_deal_of_mail_is_purged_step_by_step(self, accept, count, monkeypatch):
        monkeypatch.setattr(erasure, "PURGED_AT_ONCE", 2)
        for _ in range(5):
            accept()

        self.erase()
        left = [count(Content)]
        while left[-1]:
            transact(erasure.purge)
            left.append(count(Content))

        assert left == [3, 1, 0]
