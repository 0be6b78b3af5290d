"""The sender: one kept connection, the fence before DATA, and what each mail came to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from api.core.claim import Address, Attachment, Blame, Reply
from api.delivery.sender import Fenced, Sender
from api.delivery.smtp import Mail, MailState
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import a_claim, sending, verbs, yes
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Action, Rule

Post = Callable[..., Mail]


def restless(mail: Mail, **changes: Any) -> Mail:
    """Return the transport with other terms, which are no settings."""
    state = mail.state
    assert isinstance(state, MailState)
    state.relay = replace(state.relay, **changes)
    return mail


def test_a_sent_mail_keeps_the_relays_last_words(relay: Relay, sender: Sender) -> None:
    claim = a_claim()

    result = sender.send(claim, confirm=yes)

    assert (result.outcome, result.blame, result.phase) == (Outcome.SENT, Blame.NOBODY, Phase.DOT)
    [message] = relay.messages()
    assert result.reply == Reply(250, "2.0.0", f"queued as {message.queue_id}")
    assert (message.sender, message.recipients) == ("room@example.org", ("ann@example.org",))
    assert message.message_id == claim.content.message_id
    assert result.duration_ms >= 0


def test_mails_share_one_connection(relay: Relay, sender: Sender) -> None:
    for _ in range(5):
        assert sender.send(a_claim(), confirm=yes).outcome is Outcome.SENT
    sender.close()

    relay.wait_until_idle()
    assert len(relay.connections()) == 1
    assert verbs(relay) == ["EHLO", *(["MAIL", "RCPT", "DATA"] * 5), "QUIT"]
    assert relay.violations() == []


def test_a_connection_carries_no_more_mails_than_it_may(relay: Relay, post: Post) -> None:
    with sending(post(MAIL_MAX_EMAILS=2)) as sender:
        for _ in range(5):
            sender.send(a_claim(), confirm=yes)

    relay.wait_until_idle()
    assert [message.connection for message in relay.messages()] == [1, 1, 2, 2, 3]
    assert verbs(relay).count("QUIT") == 3


def test_an_idle_connection_is_left_and_not_used_again(relay: Relay, post: Post) -> None:
    with sending(restless(post(), idle=0.0)) as sender:
        sender.send(a_claim(), confirm=yes)
        sender.send(a_claim(), confirm=yes)

    assert [message.connection for message in relay.messages()] == [1, 2]
    assert verbs(relay, 1)[-1] == "QUIT"


def test_an_idle_connection_can_be_left_without_a_mail_to_send(relay: Relay, post: Post) -> None:
    with sending(restless(post(), idle=0.0)) as sender:
        sender.send(a_claim(), confirm=yes)
        sender.close_if_idle()
        relay.wait_until_idle()

    assert verbs(relay)[-1] == "QUIT"


def test_a_busy_connection_is_not_left_as_idle(relay: Relay, sender: Sender) -> None:
    sender.send(a_claim(), confirm=yes)
    sender.close_if_idle()
    sender.send(a_claim(), confirm=yes)

    assert [message.connection for message in relay.messages()] == [1, 1]


@pytest.mark.parametrize("farewell", [None, "421 4.4.2 idle for too long"])
def test_a_kept_connection_that_the_relay_has_left_is_replaced(
    relay: Relay, sender: Sender, farewell: str | None
) -> None:
    sender.send(a_claim(), confirm=yes)
    relay.disconnect(farewell)
    relay.wait_until_idle()

    result = sender.send(a_claim(), confirm=yes)

    assert result.outcome is Outcome.SENT
    assert [message.connection for message in relay.messages()] == [1, 2]
    assert relay.violations() == []


@pytest.mark.parametrize(
    "fault",
    [actions.drop(), actions.reset(), actions.hang(), actions.garbage("text"), actions.close_after("421 4.7.0 enough")],
)
def test_what_befalls_the_first_command_on_a_kept_connection_is_no_verdict(
    relay: Relay, post: Post, fault: Action
) -> None:
    with sending(post(MAIL_TIMEOUT=0.4)) as sender:
        sender.send(a_claim(), confirm=yes)
        relay.script(Rule("mail", fault, times=1))

        result = sender.send(a_claim(), confirm=yes)

    assert result.outcome is Outcome.SENT
    assert [message.connection for message in relay.messages()] == [1, 2]


def test_a_relay_that_leaves_at_the_first_command_of_a_new_connection_too_is_believed(
    relay: Relay, sender: Sender
) -> None:
    sender.send(a_claim(), confirm=yes)
    relay.script(Rule("mail", actions.close_after("421 4.7.0 enough")))

    result = sender.send(a_claim(), confirm=yes)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.RELAY, Phase.MAIL)
    assert len(relay.connections()) == 2


def test_a_mail_that_may_have_been_taken_is_not_tried_again_by_the_sender(relay: Relay, sender: Sender) -> None:
    sender.send(a_claim(), confirm=yes)
    relay.script(Rule("after_dot", actions.drop(), times=1))

    assert sender.send(a_claim(), confirm=yes).outcome is Outcome.UNKNOWN
    assert len(relay.messages()) == 2


@pytest.mark.parametrize("phase", ["mail", "rcpt"])
def test_a_refused_envelope_is_taken_back_and_the_connection_kept(relay: Relay, sender: Sender, phase: str) -> None:
    relay.script(Rule(phase, actions.reply("550 5.1.1 no"), times=1))

    refused = sender.send(a_claim(), confirm=yes)
    sent = sender.send(a_claim(), confirm=yes)

    assert [refused.outcome, sent.outcome] == [Outcome.FAILED, Outcome.SENT]
    assert verbs(relay).count("RSET") == 1
    assert len(relay.connections()) == 1
    assert relay.violations() == []


@pytest.mark.parametrize("fault", [actions.drop(), actions.reply("550 no"), actions.hang(), actions.garbage("text")])
def test_a_connection_that_cannot_be_reset_is_closed_and_the_refusal_stands(
    relay: Relay, post: Post, fault: Action
) -> None:
    relay.script(Rule("rcpt", actions.reply("550 5.1.1 no"), times=1), Rule("rset", fault))

    with sending(post(MAIL_TIMEOUT=0.4)) as sender:
        refused = sender.send(a_claim(), confirm=yes)
        sent = sender.send(a_claim(), confirm=yes)

    assert (refused.outcome, refused.phase, refused.reply.code) == (Outcome.FAILED, Phase.RCPT, 550)
    assert sent.outcome is Outcome.SENT
    assert [message.connection for message in relay.messages()] == [2]


@pytest.mark.parametrize("phase", ["data", "dot"])
def test_after_a_refusal_from_data_on_the_connection_is_closed(relay: Relay, sender: Sender, phase: str) -> None:
    relay.script(Rule(phase, actions.reply("451 4.0.0 not now"), times=1))

    refused = sender.send(a_claim(), confirm=yes)
    sent = sender.send(a_claim(), confirm=yes)

    assert [refused.outcome, sent.outcome] == [Outcome.DEFERRED, Outcome.SENT]
    assert [message.connection for message in relay.messages()] == [2]
    assert verbs(relay, 1)[-1] == "DATA"


def test_a_reply_that_nobody_asked_for_is_never_taken_for_a_later_commands(relay: Relay, sender: Sender) -> None:
    # Its second reply would be read as RCPT's, RCPT's as DATA's, and so on to a false "sent".
    relay.script(Rule("mail", actions.reply("250 2.1.0 ok", "250 2.1.5 ok")))

    result = sender.send(a_claim(), confirm=yes)

    assert (result.outcome, result.phase, result.reply.code) == (Outcome.DEFERRED, Phase.RCPT, None)
    assert relay.messages() == []


def test_a_claim_that_is_lost_is_withdrawn_before_data(relay: Relay, sender: Sender) -> None:
    with pytest.raises(Fenced):
        sender.send(a_claim(), confirm=lambda: False)

    assert verbs(relay) == ["EHLO", "MAIL", "RCPT", "RSET"]
    assert sender.send(a_claim(), confirm=yes).outcome is Outcome.SENT
    assert len(relay.messages()) == 1
    assert relay.violations() == []


def test_the_claim_is_confirmed_after_the_recipient_was_accepted_and_only_then(relay: Relay, sender: Sender) -> None:
    seen: list[list[str]] = []

    def confirm() -> bool:
        seen.append(verbs(relay))
        return True

    relay.script(Rule("rcpt", actions.reply("550 5.1.1 no"), times=1))
    sender.send(a_claim(), confirm=confirm)
    assert seen == []

    sender.send(a_claim(), confirm=confirm)

    assert [commands[-1] for commands in seen] == ["RCPT"]


def test_an_error_while_confirming_hands_nothing_over(relay: Relay, sender: Sender) -> None:
    def confirm() -> bool:
        raise LookupError("the database is gone")

    with pytest.raises(LookupError):
        sender.send(a_claim(), confirm=confirm)

    relay.wait_until_idle()
    assert relay.messages() == []
    assert sender.send(a_claim(), confirm=yes).outcome is Outcome.SENT


@pytest.mark.parametrize(
    ("recipient", "content"),
    [
        ("ann@example.org", {"subject": "one\r\nBcc: evil@example.org"}),
        ("ann@example.org", {"headers": (("X-A", "b\nc"),)}),
        ("ann@example.org", {"headers": (("Bcc", "evil@example.org"),)}),
        ("ann@example.org", {"text": "lone \ud800 surrogate"}),
        ("ann@example.org", {"sender": Address("room@example.org>\r\nRCPT TO:<evil@example.org")}),
        ("ann@example.org", {"sender": Address("röom@example.org")}),
        ("ann@example.org", {"attachments": (Attachment("a.eml", "message/rfc822", b"Subject: x\n\ny"),)}),
        ("änn@example.org", {}),
        ("ann@example.org>\r\nDATA", {}),
        ("ann@example.org NOTIFY=NEVER", {}),
        ("", {}),
    ],
)
def test_what_cannot_be_put_on_the_wire_fails_without_a_word_to_the_relay(
    relay: Relay, sender: Sender, recipient: str, content: dict[str, Any]
) -> None:
    result = sender.send(a_claim(recipient, **content), confirm=yes)

    assert (result.outcome, result.blame, result.phase) == (Outcome.FAILED, Blame.MESSAGE, Phase.MESSAGE)
    assert result.reply.text
    assert relay.connections() == []


def test_a_message_over_the_announced_size_is_not_sent(relay: Relay, sender: Sender) -> None:
    relay.configure(size_limit=1000)

    result = sender.send(a_claim(text="x" * 2000), confirm=yes)

    assert (result.outcome, result.blame) == (Outcome.FAILED, Blame.MESSAGE)
    assert (result.reply.code, result.reply.enhanced_code) == (552, "5.3.4")
    assert verbs(relay) == ["EHLO"]
    assert sender.send(a_claim(), confirm=yes).outcome is Outcome.SENT


def test_the_announced_size_is_told_in_mail(relay: Relay, sender: Sender) -> None:
    sender.send(a_claim(), confirm=yes)

    [mail] = [command.line for command in relay.commands() if command.verb == "MAIL"]
    assert mail == f"MAIL FROM:<room@example.org> SIZE={len(relay.messages()[0].raw)}"


def test_dots_and_smtp_in_the_text_arrive_as_text(relay: Relay, sender: Sender) -> None:
    text = ".\r\n..\r\nMAIL FROM:<evil@example.org>\r\n.\r\nQUIT\r\n.hidden\r\n"

    sender.send(a_claim(text=text), confirm=yes)

    [message] = relay.messages()
    payload = message.parsed.get_payload(decode=True)
    assert payload == text.encode()
    assert relay.violations() == []


def test_a_probe_logs_in_and_keeps_the_connection(relay: Relay, sender: Sender) -> None:
    result = sender.probe()

    assert (result.outcome, result.blame) == (Outcome.SENT, Blame.NOBODY)
    assert verbs(relay) == ["EHLO"]
    sender.send(a_claim(), confirm=yes)
    assert len(relay.connections()) == 1


def test_a_probe_does_not_trust_a_kept_connection(relay: Relay, sender: Sender) -> None:
    sender.send(a_claim(), confirm=yes)
    relay.refuse()

    result = sender.probe()

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.RELAY, Phase.CONNECT)


def test_a_suppressed_sender_sends_nothing_and_calls_nothing_sent(relay: Relay, post: Post) -> None:
    with sending(post(MAIL_SUPPRESS_SEND=True)) as sender:
        result = sender.send(a_claim(), confirm=yes)

    assert (result.outcome, result.blame) == (Outcome.RELEASED, Blame.OPERATOR)
    assert "MAIL_SUPPRESS_SEND" in result.reply.text
    assert relay.connections() == []


def test_nothing_of_the_mail_or_the_login_is_logged(relay: Relay, post: Post, caplog: pytest.LogCaptureFixture) -> None:
    relay.configure(users={"room": "secret"}, auth_in_plaintext=True)
    relay.script(Rule("rcpt", actions.reply("550 5.1.1 no"), recipient="bob@*"))

    with caplog.at_level("DEBUG"), sending(post(MAIL_USERNAME="room", MAIL_PASSWORD="secret")) as sender:
        sender.send(a_claim(), confirm=yes)
        sender.send(a_claim("bob@example.org"), confirm=yes)

    assert len(relay.messages()) == 1
    assert not any(word in caplog.text for word in ("secret", "c2VjcmV0", "ann@", "bob@", "Hello"))


def test_closing_twice_or_unopened_is_harmless(relay: Relay, sender: Sender) -> None:
    sender.close()
    sender.send(a_claim(), confirm=yes)
    relay.disconnect()
    sender.close()
    sender.close()

    assert len(relay.messages()) == 1


def test_a_refusal_after_the_dot_names_the_relays_words(relay: Relay, sender: Sender) -> None:
    relay.script(Rule("dot", actions.reply("550-5.7.1 first", "550 5.7.1 second\x07"), recipient="bob@*"))

    result = sender.send(a_claim("bob@example.org"), confirm=yes)

    assert result.reply == Reply(550, "5.7.1", "first second�")


@pytest.mark.parametrize("announced", ["SIZE", "SIZE 0", "SIZE x", "SIZE " + "9" * 5000, "size 99999"])
def test_a_size_without_a_limit_is_no_limit(relay: Relay, sender: Sender, announced: str) -> None:
    relay.script(Rule("ehlo", actions.reply("250-relay.test", f"250 {announced}")))

    assert sender.send(a_claim(), confirm=yes).outcome is Outcome.SENT
