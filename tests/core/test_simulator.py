"""The simulator's mailboxes: who they are, what they answer, and whose mail may not go there."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core import addresses, simulator
from api.core.claim import Blame
from api.core.simulator import DOMAIN, MAILBOXES
from schemas.vocabulary import Mode, Outcome, Phase

ATTEMPTS = [
    ("delivered", 1, Outcome.SENT, Phase.DOT, 250, "2.0.0"),
    ("deferred", 1, Outcome.DEFERRED, Phase.RCPT, 450, "4.7.1"),
    ("deferred", 2, Outcome.SENT, Phase.DOT, 250, "2.0.0"),
    ("deferred", 3, Outcome.SENT, Phase.DOT, 250, "2.0.0"),
    ("expired", 1, Outcome.DEFERRED, Phase.RCPT, 450, "4.2.1"),
    ("expired", 1000, Outcome.DEFERRED, Phase.RCPT, 450, "4.2.1"),
    ("failed", 1, Outcome.FAILED, Phase.RCPT, 550, "5.1.1"),
    ("failed", 2, Outcome.FAILED, Phase.RCPT, 550, "5.1.1"),
    ("full", 1, Outcome.FAILED, Phase.RCPT, 552, "5.2.2"),
    ("blocked", 1, Outcome.FAILED, Phase.RCPT, 550, "5.7.1"),
    ("spam", 1, Outcome.FAILED, Phase.DOT, 554, "5.7.1"),
    ("slow", 1, Outcome.SENT, Phase.DOT, 250, "2.0.0"),
    ("lost", 1, Outcome.UNKNOWN, Phase.DOT, None, None),
    ("lost", 2, Outcome.SENT, Phase.DOT, 250, "2.0.0"),
]


@pytest.mark.parametrize(("mailbox", "attempt", "outcome", "phase", "code", "enhanced_code"), ATTEMPTS)
def test_each_attempt_has_the_reply_that_a_relay_would_give(mailbox, attempt, outcome, phase, code, enhanced_code):
    result = simulator.answer(f"{mailbox}@{DOMAIN}", attempt)

    assert result is not None
    assert (result.outcome, result.phase) == (outcome, phase)
    assert (result.reply.code, result.reply.enhanced_code) == (code, enhanced_code)
    assert result.reply.text


def test_every_mailbox_stands_in_the_table():
    assert {row[0] for row in ATTEMPTS} == set(MAILBOXES)


def test_nobody_blames_the_relay_for_it():
    for mailbox in MAILBOXES:
        result = simulator.answer(f"{mailbox}@{DOMAIN}", 1)
        assert result is not None
        assert result.blame in (Blame.NOBODY, Blame.RECIPIENT, Blame.MESSAGE)


def test_only_the_slow_one_takes_its_time():
    taking = [one for one in MAILBOXES if getattr(simulator.answer(f"{one}@{DOMAIN}", 1), "duration_ms", 0)]

    assert taking == ["slow"]


@given(
    mailbox=st.sampled_from(MAILBOXES),
    detail=st.from_regex(r"[A-Za-z0-9+_-]{0,40}", fullmatch=True),
    upper=st.booleans(),
    attempt=st.integers(1, 5),
)
def test_a_detail_makes_another_address_of_the_same_mailbox(mailbox, detail, upper, attempt):
    name = f"{mailbox.upper() if upper else mailbox}+{detail}"
    email = addresses.normalise(f"{name}@{DOMAIN.upper() if upper else DOMAIN}")

    assert simulator.is_mailbox(email)
    assert simulator.answer(email, attempt) == simulator.answer(f"{mailbox}@{DOMAIN}", attempt)
    assert simulator.complaint(email, mode=Mode.TEST) is None


@given(local=st.from_regex(r"[a-z0-9]{1,20}(\+[a-z]{0,5})?", fullmatch=True), mode=st.sampled_from(Mode))
def test_no_other_mailbox_is_known_and_none_at_all_to_live_keys(local, mode):
    said = simulator.complaint(f"{local}@{DOMAIN}", mode=mode)

    if mode is Mode.TEST and local.partition("+")[0] in MAILBOXES:
        assert said is None
    else:
        assert said is not None
        assert said[1] == ("simulated" if mode is Mode.LIVE else "not_one_of")


@pytest.mark.parametrize(
    "email",
    ["ann@example.org", "delivered@example.com", f"delivered@mail.{DOMAIN}", f"delivered@{DOMAIN}.org", "failed@x.org"],
)
@pytest.mark.parametrize("mode", Mode)
def test_other_domains_are_nobodys_business(email, mode):
    assert simulator.answer(email, 1) is None
    assert simulator.complaint(email, mode=mode) is None
    assert not simulator.is_mailbox(email)


def test_what_is_to_expire_is_given_up_soon_and_other_mail_when_the_operator_says():
    days = timedelta(days=5)
    expired, ann = [f"expired@{DOMAIN}"], ["ann@example.org"]

    assert simulator.give_up(expired, mode=Mode.TEST, otherwise=days) == simulator.SCHEDULE.give_up
    assert simulator.give_up([*ann, *expired], mode=Mode.TEST, otherwise=days) == simulator.SCHEDULE.give_up
    assert simulator.give_up(expired, mode=Mode.TEST, otherwise=timedelta(seconds=5)) == timedelta(seconds=5)
    assert simulator.give_up([f"slow@{DOMAIN}", f"deferred@{DOMAIN}"], mode=Mode.TEST, otherwise=days) == days
    assert simulator.give_up(ann, mode=Mode.TEST, otherwise=days) == days
    assert simulator.give_up(expired, mode=Mode.LIVE, otherwise=days) == days
