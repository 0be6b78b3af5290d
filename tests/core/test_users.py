"""Users: what registration stores together, what uniqueness compares, what erasure leaves."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select

from api.core import erasure, notifications, steering, users
from api.core.claim import Address
from api.core.db import db, transact
from api.core.errors import Conflict, Invalid, NotFound, StaleVersion
from api.core.models import Content, Delivery, Notification, User
from schemas.vocabulary import DeliveryStatus
from tests.conftest import SENT


@pytest.fixture
def register(key):
    """Register ann, or somebody else."""

    def register(**fields):
        return users.register(**{"key": key, "username": "ann", "email": "ann@example.org", "name": "Ann", **fields})

    return register


def test_a_new_user_is_stored_with_the_admins_notice_and_the_welcome_mail(register, count):
    registration = register()

    assert not registration.known
    assert [one.template_name for one in registration.notifications] == ["new_user", "welcome"]
    assert [one.deliveries[0].recipient for one in registration.notifications] == [
        "admin@example.org",
        "ann@example.org",
    ]
    assert (count(User), count(Notification), count(Delivery)) == (1, 2, 2)


def test_the_same_user_again_is_known_and_gets_no_mail(register, count):
    first = register()
    again = register(username="ANN", email="Ann@Example.org")

    assert again.known
    assert again.user.id == first.user.id
    assert again.notifications == ()
    assert count(Notification) == 2


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"email": "other@example.org"}, ["/username"]),
        ({"username": "other"}, ["/email"]),
        ({"username": "ＡＮＮ", "email": "other@example.org"}, ["/username"]),
    ],
)
def test_what_belongs_to_somebody_else_is_a_conflict_with_its_pointer(register, count, fields, pointers):
    register()

    with pytest.raises(Conflict) as conflict:
        register(**fields)

    assert [error.pointer for error in conflict.value.errors] == pointers
    assert count(User) == 1
    assert count(Notification) == 2


def test_two_different_owners_are_both_named(register):
    register()
    register(username="bob", email="bob@example.org")

    with pytest.raises(Conflict) as conflict:
        register(username="ann", email="bob@example.org")

    assert [error.pointer for error in conflict.value.errors] == ["/username", "/email"]


def test_an_address_that_cannot_be_written_to_stores_nothing(register, count):
    with pytest.raises(Invalid) as invalid:
        register(email="ann@localhost")

    assert invalid.value.errors[0].pointer == "/email"
    assert count(User) == count(Notification) == 0


def test_parallel_registrations_make_one_user_and_one_set_of_notices(app, key, count):
    start = threading.Barrier(8)
    known = []

    def work():
        with app.app_context():
            start.wait()
            known.append(users.register(key=key, username="ann", email="ann@example.org").known)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert sorted(known) == [False] + [True] * 7
    assert (count(User), count(Notification)) == (1, 2)


def test_the_database_itself_keeps_names_apart_without_case(register, app):
    user = register().user

    def twin(session):
        session.add(User(**{**_columns(user), "id": key_of(user)}))

    with pytest.raises(Exception, match=r"(?i)unique"):
        transact(twin)


def test_a_test_key_registers_beside_the_live_ones_and_mails_to_the_inbox_only(register, test_key, count):
    register()
    registration = register(key=test_key)

    assert not registration.known
    assert {one.deliveries[0].transport for one in registration.notifications} == {"capture"}


def test_a_user_of_the_other_mode_is_not_found(register, test_key):
    user = register().user

    with pytest.raises(NotFound):
        users.get(user.id, key=test_key)


def test_a_change_raises_the_version_and_a_stale_one_is_refused(register, key):
    user = register().user

    changed = users.change(user.id, key=key, version=1, name="Ann B.")
    assert (changed.name, changed.version) == ("Ann B.", 2)
    with pytest.raises(StaleVersion):
        users.change(user.id, key=key, version=1, name="Ann C.")


def test_a_change_to_somebody_elses_name_is_a_conflict(register, key):
    register()
    bob = register(username="bob", email="bob@example.org").user

    with pytest.raises(Conflict) as conflict:
        users.change(bob.id, key=key, version=None, username="Ann", email="ANN@example.org")

    assert [error.pointer for error in conflict.value.errors] == ["/username", "/email"]


def test_erasing_cancels_mail_to_the_user_keeps_the_admins_and_forgets_the_person(register, key, count, claim, settle):
    registration = register()
    notice, welcome = registration.notifications

    users.erase(registration.user.id, key=key)

    assert count(User) == 0
    cancelled = notifications.get(welcome.id, key=key)
    assert cancelled.deliveries[0].status is DeliveryStatus.CANCELLED
    assert cancelled.deliveries[0].recipient == steering.ERASED
    assert cancelled.subject is None
    # The admin's notice is still owed; its content goes once it is sent.
    [held] = claim()
    assert held.notification_id == notice.id
    settle(held, SENT)
    transact(erasure.purge)
    assert db.session.scalars(select(Content.notification_id)).all() == []
    assert count(Notification) == 2


def test_erasing_takes_back_what_is_being_sent_before_it_is_tried_again(register, key, claim):
    registration = register()
    claim()
    users.erase(registration.user.id, key=key)

    welcome = notifications.get(registration.notifications[1].id, key=key).deliveries[0]
    assert welcome.withdrawn
    assert welcome.status is DeliveryStatus.SENDING


def test_mail_to_others_in_the_same_message_is_still_sent(register, key, accept, claim):
    registration = register()
    shared = accept(to=[Address("ann@example.org"), Address("bob@example.org")])

    users.erase(registration.user.id, key=key)

    statuses = [one.status for one in notifications.get(shared.id, key=key).deliveries]
    assert statuses == [DeliveryStatus.CANCELLED, DeliveryStatus.QUEUED]
    assert "bob@example.org" in [held.recipient for held in claim()]


def test_without_admin_and_welcome_nothing_is_queued(app, register, count):
    rules = app.extensions["postroom.policy"]
    app.extensions["postroom.policy"] = replace(rules, admin=None, welcome=False)

    assert register().notifications == ()
    assert count(Notification) == 0


def test_a_withdrawn_delivery_is_cancelled_when_its_holder_dies(register, key, claim, at):
    registration = register()
    claim()
    users.erase(registration.user.id, key=key)
    at(minutes=20)

    assert [held.recipient for held in claim(by=key_of(registration.user))] == ["admin@example.org"]
    welcome = notifications.get(registration.notifications[1].id, key=key).deliveries[0]
    assert welcome.status is DeliveryStatus.CANCELLED


def key_of(user: User):
    """Return an id that nothing has yet."""
    return type(user.id)(int=user.id.int + 1)


def _columns(user: User) -> dict[str, object]:
    return {attribute.key: getattr(user, attribute.key) for attribute in User.__mapper__.column_attrs}
