"""Blame as a table: what each reply in each phase means, by the RFCs and by the words of well-known relays."""

import pytest

from api.core.claim import Blame, Reply
from api.delivery import blame
from schemas.vocabulary import Outcome, Phase

GREETING = [Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH]
TRANSACTION = [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY, Phase.DOT]

RECIPIENT = {
    "greylisting": (Phase.RCPT, 450, "4.2.0", "greylisted", Outcome.DEFERRED),
    "a busy mailbox": (Phase.RCPT, 450, None, "mailbox busy", Outcome.DEFERRED),
    "a full mailbox": (Phase.RCPT, 452, "4.2.2", "over quota", Outcome.DEFERRED),
    "a bare 452 about a recipient": (Phase.RCPT, 452, None, "try later", Outcome.DEFERRED),
    "too many recipients": (Phase.RCPT, 452, "4.5.3", "too many recipients", Outcome.DEFERRED),
    "mail for one user too fast (Gmail)": (Phase.RCPT, 450, "4.2.1", "receiving mail too quickly", Outcome.DEFERRED),
    "a failed look-up of one address (Postfix)": (
        Phase.RCPT,
        451,
        "4.3.0",
        "Temporary lookup failure",
        Outcome.DEFERRED,
    ),
    "an unknown user": (Phase.RCPT, 550, "5.1.1", "no such user", Outcome.FAILED),
    "a mailbox full for good": (Phase.RCPT, 552, "5.2.2", "mailbox full", Outcome.FAILED),
    "a domain without mail": (Phase.RCPT, 556, "5.1.10", "null MX", Outcome.FAILED),
    "no relaying for that one (Postfix)": (Phase.RCPT, 554, "5.7.1", "Relay access denied", Outcome.FAILED),
}
MESSAGE = {
    "a sender not yet verified": (Phase.MAIL, 450, "4.1.8", "sender domain not found", Outcome.DEFERRED),
    "a bare 451 at MAIL": (Phase.MAIL, 451, None, "local error", Outcome.DEFERRED),
    "a sender refused": (Phase.MAIL, 553, "5.1.8", "sender refused", Outcome.FAILED),
    "a size refused": (Phase.MAIL, 552, "5.3.4", "too large", Outcome.FAILED),
    "DATA refused": (Phase.DATA, 554, "5.5.1", "no valid recipients", Outcome.FAILED),
    "content put off": (Phase.DOT, 451, "4.7.1", "try again", Outcome.DEFERRED),
    "content put off without a reason (Gmail)": (Phase.DOT, 451, "4.3.0", "temporarily rejected", Outcome.DEFERRED),
    "content refused": (Phase.DOT, 550, "5.7.1", "looks like spam", Outcome.FAILED),
    "content too large": (Phase.DOT, 552, "5.3.4", "too large", Outcome.FAILED),
    "content refused while it came": (Phase.BODY, 554, "5.6.0", "enough", Outcome.FAILED),
}
RELAY = {
    "full at MAIL": (Phase.MAIL, 452, "4.3.1", "insufficient system storage"),
    "full at MAIL, barely said": (Phase.MAIL, 452, None, "insufficient system storage"),
    "full at RCPT": (Phase.RCPT, 452, "4.3.1", "insufficient system storage"),
    "full after the dot": (Phase.DOT, 452, "4.3.1", "insufficient system storage"),
    "a failing system": (Phase.MAIL, 451, "4.3.0", "queue file write error"),
    "a system set up wrongly": (Phase.MAIL, 451, "4.3.5", "server configuration problem"),
    "not accepting": (Phase.RCPT, 450, "4.3.2", "not accepting network messages"),
    "too many connections (Exchange Online)": (Phase.DOT, 432, "4.3.2", "sender thread limit exceeded"),
    "a daily limit (Exchange Online)": (Phase.RCPT, 550, "5.1.90", "reached your daily limit"),
    "a throttled sender (Exchange Online)": (Phase.DOT, 550, "5.2.252", "throttled"),
    "a tenant's limit (Exchange Online)": (Phase.DOT, 550, "5.7.233", "tenant exceeded its daily limit"),
    "a daily limit (Gmail)": (Phase.MAIL, 550, "5.4.5", "Daily user sending limit exceeded"),
    "a daily limit, refused as policy (Gmail)": (
        Phase.DOT,
        550,
        "5.7.1",
        "Daily SMTP relay limit exceeded for customer",
    ),
    "a peak (Gmail)": (Phase.RCPT, 450, "4.2.1", "Peak SMTP relay limit exceeded for customer"),
    "throttling (Amazon SES)": (Phase.DOT, 454, None, "Throttling failure: Maximum sending rate exceeded."),
    "a daily quota (Amazon SES)": (Phase.MAIL, 454, None, "Throttling failure: Daily message quota exceeded."),
    "congestion": (Phase.DATA, 451, "4.4.5", "congested"),
}


@pytest.mark.parametrize("case", RECIPIENT.values(), ids=RECIPIENT)
def test_what_speaks_of_one_recipient_blames_the_recipient(case: tuple[Phase, int, str | None, str, Outcome]) -> None:
    phase, code, enhanced, text, outcome = case

    reply = Reply(code, enhanced, text)

    assert blame.judge(phase, reply) == blame.Verdict(outcome, Blame.RECIPIENT, phase, reply)


@pytest.mark.parametrize("case", MESSAGE.values(), ids=MESSAGE)
def test_what_speaks_of_the_message_blames_the_message(case: tuple[Phase, int, str | None, str, Outcome]) -> None:
    phase, code, enhanced, text, outcome = case

    reply = Reply(code, enhanced, text)

    assert blame.judge(phase, reply) == blame.Verdict(outcome, Blame.MESSAGE, phase, reply)


@pytest.mark.parametrize("case", RELAY.values(), ids=RELAY)
def test_a_relay_that_is_full_or_counts_us_out_is_the_relays(case: tuple[Phase, int, str | None, str]) -> None:
    phase, code, enhanced, text = case

    reply = Reply(code, enhanced, text)

    assert blame.judge(phase, reply) == blame.Verdict(Outcome.RELEASED, Blame.RELAY, phase, reply)


@pytest.mark.parametrize("phase", GREETING + TRANSACTION)
def test_421_is_the_relays_in_every_phase(phase: Phase) -> None:
    reply = Reply(421, "4.7.0", "try again later")

    assert blame.judge(phase, reply) == blame.Verdict(Outcome.RELEASED, Blame.RELAY, phase, reply)


@pytest.mark.parametrize("code", [530, 534, 535, 538])
@pytest.mark.parametrize("phase", [Phase.AUTH, Phase.MAIL, Phase.RCPT, Phase.DATA])
def test_a_relay_that_wants_a_login_or_tls_first_is_the_operators(phase: Phase, code: int) -> None:
    reply = Reply(code, "5.7.0", "authentication required")

    assert blame.judge(phase, reply) == blame.Verdict(Outcome.RELEASED, Blame.OPERATOR, phase, reply)


@pytest.mark.parametrize(("phase", "code"), [(Phase.AUTH, 454), (Phase.AUTH, 450), (Phase.STARTTLS, 454)])
def test_a_hiccup_in_the_login_or_tls_is_the_relays(phase: Phase, code: int) -> None:
    verdict = blame.judge(phase, Reply(code, "4.7.0", "temporary"))

    assert verdict is not None
    assert (verdict.outcome, verdict.blame) == (Outcome.RELEASED, Blame.RELAY)


@pytest.mark.parametrize("phase", [Phase.BANNER, Phase.EHLO])
@pytest.mark.parametrize("code", [450, 500, 550, 554])
def test_no_refusal_before_the_login_is_held_against_mail(phase: Phase, code: int) -> None:
    verdict = blame.judge(phase, Reply(code, None, "go away"))

    assert verdict is not None
    assert (verdict.outcome, verdict.blame) == (Outcome.RELEASED, Blame.RELAY)


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.BANNER, 220),
        (Phase.EHLO, 250),
        (Phase.STARTTLS, 220),
        (Phase.AUTH, 235),
        (Phase.MAIL, 250),
        (Phase.RCPT, 250),
        (Phase.RCPT, 251),
        (Phase.RCPT, 252),
        (Phase.DATA, 354),
    ],
)
def test_the_dialogue_goes_on_after_the_reply_it_needs(phase: Phase, code: int) -> None:
    assert blame.judge(phase, Reply(code, None, "ok")) is None


def test_only_a_2xx_after_the_dot_is_sent() -> None:
    reply = Reply(250, "2.0.0", "queued as 17")

    assert blame.judge(Phase.DOT, reply) == blame.Verdict(Outcome.SENT, Blame.NOBODY, Phase.DOT, reply)
    for phase in GREETING + TRANSACTION:
        for code in range(200, 600):
            verdict = blame.judge(phase, Reply(code, None, "ok"))
            sent = verdict is not None and verdict.outcome is Outcome.SENT
            assert sent == (phase is Phase.DOT and code < 300)


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.BANNER, 250),
        (Phase.EHLO, 220),
        (Phase.AUTH, 250),
        (Phase.AUTH, 334),
        (Phase.MAIL, 354),
        (Phase.RCPT, 354),
        (Phase.DATA, 250),
        (Phase.DATA, 334),
        (Phase.BODY, 250),
        (Phase.DOT, 354),
    ],
)
def test_a_positive_reply_out_of_turn_is_no_reply(phase: Phase, code: int) -> None:
    verdict = blame.judge(phase, Reply(code, None, "ok"))

    assert verdict is not None
    assert verdict == blame.broken(phase, verdict.reply.text)
    assert str(code) in verdict.reply.text


@pytest.mark.parametrize("phase", GREETING)
def test_a_connection_lost_before_mail_is_the_relays(phase: Phase) -> None:
    verdict = blame.broken(phase, "connection lost")

    assert (verdict.outcome, verdict.blame) == (Outcome.RELEASED, Blame.RELAY)


@pytest.mark.parametrize("phase", TRANSACTION)
def test_a_connection_lost_with_mail_on_it_is_unknown_only_after_the_dot(phase: Phase) -> None:
    verdict = blame.broken(phase, "connection lost")

    assert verdict.blame is Blame.MESSAGE
    assert verdict.outcome is (Outcome.UNKNOWN if phase is Phase.DOT else Outcome.DEFERRED)
    assert verdict.reply == Reply(None, None, "connection lost")


def test_a_verdict_becomes_a_result_in_whole_milliseconds() -> None:
    result = blame.unsendable("The subject holds U+000A.").after(0.0126)

    assert (result.outcome, result.blame, result.phase) == (Outcome.FAILED, Blame.MESSAGE, Phase.MESSAGE)
    assert result.duration_ms == 13
