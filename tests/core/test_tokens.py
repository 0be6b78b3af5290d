"""Status tokens: for one notification, for a day, and for nobody who makes them up."""

import base64
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.app import create_app
from api.core import notifications, tokens
from api.core.claim import Address
from api.core.db import close
from api.core.tokens import Secret
from schemas.vocabulary import Mode, Scope

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def mint(app):
    """Make a token of a notification."""
    return lambda notification: tokens.minter()(notification.id, notification.mode)


def test_a_token_reads_its_notification_and_may_do_nothing_else(accept, mint):
    notification = accept()
    holder = tokens.holder(mint(notification), notification.id)

    assert holder is not None
    assert (holder.mode, holder.scopes) == (Mode.LIVE, [Scope.NOTIFICATIONS_READ])
    assert notifications.get(notification.id, key=holder).id == notification.id


def test_a_test_notifications_token_reads_test_mail(accept, test_key, mint):
    notification = accept(key=test_key)
    holder = tokens.holder(mint(notification), notification.id)

    assert holder is not None
    assert holder.mode is Mode.TEST


def test_a_token_ends_after_a_day(accept, mint, at):
    notification = accept()
    token = mint(notification)
    at(hours=23, minutes=59)
    assert tokens.holder(token, notification.id)
    at(hours=24, minutes=1)
    assert tokens.holder(token, notification.id) is None


def test_a_token_is_for_no_other_notification(accept, mint):
    first, second = accept(), accept()

    assert tokens.holder(mint(first), second.id) is None
    assert tokens.holder(mint(first), uuid4()) is None


def test_no_spelling_but_its_own_is_the_token(accept, mint):
    notification = accept()
    token = mint(notification)
    for place in range(len(token)):
        for letter in {"A", "B", "_", token[place].swapcase(), ALPHABET[ALPHABET.find(token[place]) ^ 1]} - {
            token[place]
        }:
            assert tokens.holder(token[:place] + letter + token[place + 1 :], notification.id) is None
    for other in ("", token[:-1], token + "A", token + "=", " " + token, token + "\n", token.upper(), token * 2):
        assert tokens.holder(other, notification.id) is None


def test_nobody_can_move_the_end_or_the_mode(accept, mint):
    notification = accept()
    packed = base64.urlsafe_b64decode(mint(notification).removeprefix(tokens.PREFIX))
    for changed in (b"t" + packed[1:], packed[:1] + (2**48 - 1).to_bytes(6) + packed[7:]):
        assert tokens.holder(tokens.PREFIX + base64.urlsafe_b64encode(changed).decode(), notification.id) is None


@given(text=st.text(max_size=80) | st.text(ALPHABET, min_size=52, max_size=52).map(lambda text: tokens.PREFIX + text))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_made_up_is_a_token(app, text):
    assert tokens.holder(text, uuid4()) is None


def test_looking_at_a_token_makes_no_secret(app, count):
    assert tokens.holder(tokens.PREFIX + "A" * 52, uuid4()) is None
    assert count(Secret) == 0


def test_the_secret_is_made_once_and_is_everybodys(settings, accept, mint, count):
    notification = accept()
    apps = [create_app(settings) for _ in range(6)]

    def token(app):
        with app.app_context():
            return tokens.minter()(notification.id, notification.mode)

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(token, apps))
    assert count(Secret) == 1
    assert all(tokens.holder(token, notification.id) for token in made)
    # What starts afterwards knows them too.
    later = create_app(settings)
    with later.app_context():
        assert all(tokens.holder(token, notification.id) for token in made)
    for app in (*apps, later):
        close(app)


def test_to_whom_it_is_sent_stands_in_no_token(accept, mint):
    tokens_of_both = [mint(accept(to=[Address(email)])) for email in ("ann@example.org", "bob@example.org")]

    assert len({len(token) for token in tokens_of_both}) == 1
    assert all(token.startswith("pr_status_") and token.isascii() for token in tokens_of_both)
