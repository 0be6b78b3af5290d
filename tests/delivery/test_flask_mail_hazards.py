"""One test for each hazard of Flask-Mail 0.10, and of smtplib beneath it: it is closed, whatever their versions."""

import re
import smtplib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import flask_mail
import pytest
from flask import Flask

from api.core.claim import Blame
from api.delivery.message import Message
from api.delivery.mime import UnsendableMessage
from api.delivery.relay import RelaySettings
from api.delivery.smtp import Mail, NoSession, NotSent
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import mail_to
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Rule

Post = Callable[..., Mail]


@contextmanager
def app_of(mail: Mail) -> Iterator[Flask]:
    """The transport's app, with its context pushed."""
    assert mail.app is not None
    with mail.app.app_context():
        yield mail.app


@pytest.fixture
def mail(post: Post) -> Iterator[Mail]:
    """A transport inside its app's context."""
    mail = post()
    with app_of(mail):
        yield mail


def hello(*recipients: str, **values: Any) -> Message:
    return Message(**{"subject": "Hello", "recipients": [*recipients] or ["ann@example.org"], "body": "Hi"} | values)


# No timeouts


def test_a_silent_relay_is_waited_for_no_longer_than_mail_timeout(relay: Relay, post: Post) -> None:
    relay.script(Rule("banner", actions.hang()))
    mail = post(MAIL_TIMEOUT=0.4)

    with app_of(mail), pytest.raises(NoSession, match=r"no complete reply within 0\.4 s"):
        mail.send(hello())


def test_a_relay_that_drips_a_byte_at_a_time_is_waited_for_no_longer_than_mail_timeout(
    relay: Relay, post: Post
) -> None:
    relay.script(Rule("rcpt", actions.drip(interval=0.05, finish=False)))
    mail = post(MAIL_TIMEOUT=0.4)

    with app_of(mail), pytest.raises(NotSent, match=r"no complete reply within 0\.4 s"):
        mail.send(hello())


def test_the_whole_transaction_is_bounded_by_mail_deadline(relay: Relay, post: Post) -> None:
    relay.script(*[Rule(phase, actions.delay(0.3)) for phase in ("mail", "rcpt", "data", "dot")])
    mail = post(MAIL_TIMEOUT=5, MAIL_DEADLINE=0.7)

    with app_of(mail), pytest.raises(NotSent, match=r"not over after 0\.7 s"):
        mail.send(hello())


# Unverified TLS, unsent or shown passwords


def test_an_unknown_authority_and_a_wrong_name_get_no_password(relay: Relay, post: Post) -> None:
    relay.configure(tls="starttls", users={"room": "secret"})
    for certificate in ("unknown_ca", "wrong_name"):
        relay.configure(certificate=certificate)
        login = {"MAIL_USERNAME": "room", "MAIL_PASSWORD": "secret"}
        mail = post(MAIL_USE_TLS=True, MAIL_CA_FILE=str(relay.ca_file), **login)

        with app_of(mail), pytest.raises(NoSession) as caught:
            mail.send(hello())

        assert caught.value.verdict.blame is Blame.OPERATOR
    assert not {"AUTH", "MAIL"} & {command.verb for command in relay.commands()}


@pytest.mark.parametrize("half", [{"MAIL_USERNAME": "room"}, {"MAIL_PASSWORD": "secret"}])
def test_half_a_login_is_refused_instead_of_sending_without(post: Post, half: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="MAIL_USERNAME and MAIL_PASSWORD") as caught:
        post(**half)

    assert "secret" not in str(caught.value)


def test_debugging_never_shows_the_password(relay: Relay, post: Post, capfd: pytest.CaptureFixture[str]) -> None:
    relay.configure(users={"room": "secret"}, auth_in_plaintext=True)
    mail = post(MAIL_DEBUG=True, DEBUG=True, MAIL_USERNAME="room", MAIL_PASSWORD="secret")

    with app_of(mail), mail.connect() as connection:
        assert connection.host is not None
        connection.host.set_debuglevel(2)
        connection.send(hello())
        connection.host.sendmail("room@example.org", ["ann@example.org"], hello().as_bytes())

    assert capfd.readouterr() == ("", "")
    assert "secret" not in repr(mail.relay_settings())
    assert relay.messages()[0].user == "room"


# Lost answers


def test_one_refused_recipient_of_two_is_reported_and_the_other_named_as_sent(relay: Relay, mail: Mail) -> None:
    relay.script(Rule("rcpt", actions.reply("550 5.1.1 no such user"), recipient="bob@*"))

    with pytest.raises(
        NotSent, match=r"bob@example\.org: 550 5\.1\.1 no such user .*sent to ann@example\.org"
    ) as error:
        mail.send(hello("ann@example.org", "bob@example.org"))

    assert error.value.sent == ("ann@example.org",)
    assert error.value.refused["bob@example.org"].outcome is Outcome.FAILED
    assert isinstance(error.value, smtplib.SMTPException)
    assert [message.recipients for message in relay.messages()] == [("ann@example.org",)]


def test_the_text_of_the_final_250_is_kept(relay: Relay, mail: Mail) -> None:
    with mail.connect() as connection:
        connection.send(hello())
        assert connection.host is not None

        assert connection.host.last.text == f"queued as {relay.messages()[0].queue_id}"


@pytest.mark.parametrize("fault", [actions.drop(), actions.reset(), actions.close_after("421 4.3.2 bye")])
def test_a_relay_that_drops_at_quit_has_still_taken_the_mail(relay: Relay, mail: Mail, fault: Any) -> None:
    relay.script(Rule("quit", fault))

    mail.send(hello())

    assert len(relay.messages()) == 1


def test_a_drop_is_told_as_what_it_was(relay: Relay, mail: Mail) -> None:
    relay.script(Rule("data", actions.drop()))

    with pytest.raises(NotSent, match="connection lost") as error:
        mail.send(hello())

    assert error.value.refused["ann@example.org"].phase is Phase.DATA
    assert "connect() first" not in str(error.value)


def test_a_421_is_told_with_its_words(relay: Relay, mail: Mail) -> None:
    relay.script(Rule("rcpt", actions.close_after("421 4.3.2 shutting down")))

    with pytest.raises(NotSent, match=r"421 4\.3\.2 shutting down") as error:
        mail.send(hello("ann@example.org", "bob@example.org"))

    assert {verdict.blame for verdict in error.value.refused.values()} == {Blame.RELAY}


@pytest.mark.parametrize(("code", "outcome"), [("451", Outcome.DEFERRED), ("550", Outcome.FAILED)])
def test_451_and_550_are_told_apart(relay: Relay, mail: Mail, code: str, outcome: Outcome) -> None:
    relay.script(Rule("dot", actions.reply(f"{code} no")))

    with pytest.raises(NotSent) as error:
        mail.send(hello())

    verdict = error.value.refused["ann@example.org"]
    assert (verdict.outcome, verdict.phase, verdict.reply.code) == (outcome, Phase.DOT, int(code))


def test_after_a_refused_data_the_next_mail_has_a_new_connection(relay: Relay, mail: Mail) -> None:
    relay.script(Rule("data", actions.reply("554 5.5.1 no"), times=1))

    with mail.connect() as connection:
        with pytest.raises(NotSent):
            connection.send(hello())
        connection.send(hello())

    assert [message.connection for message in relay.messages()] == [2]
    assert relay.violations() == []


# Headers and addresses

EVIL = ["\r\nBcc: evil@example.org", "\nX: y", "\rX: y", "\x0bX", "\x0cX", "\x1cX", "\x1eX", "\x85X", "\u2028X", "\x00"]


@pytest.mark.parametrize("evil", EVIL)
def test_no_line_end_gets_into_any_header(relay: Relay, mail: Mail, evil: str) -> None:
    text = "text" + evil
    file = flask_mail.Attachment
    messages = [
        hello(subject=text),
        hello(sender=(text, "room@example.org")),
        hello(sender=f"Room <room@example.org{evil}>"),
        hello(reply_to=(text, "room@example.org")),
        hello(recipients=[(text, "ann@example.org")]),
        hello(recipients=["ann@example.org" + evil]),
        hello(cc=[(text, "bob@example.org")]),
        hello(bcc=["bob@example.org" + evil]),
        hello(extra_headers={"X-A": text}),
        hello(extra_headers={"X-A" + evil: "text"}),
        hello(attachments=[file(text, "text/plain", b"x")]),
        hello(attachments=[file("a.txt", "text/plain" + evil, b"x")]),
        hello(attachments=[file("a.txt", "text/plain", b"x", "inline" + evil)]),
        hello(attachments=[file("a.txt", "text/plain", b"x", headers={"Content-ID": text})]),
        hello(mail_options=["BODY=8BITMIME" + evil]),
    ]
    for message in messages:
        with pytest.raises((flask_mail.BadHeaderError, UnsendableMessage)):
            mail.send(message)

    assert relay.messages() == []
    assert not any("evil" in command.line for command in relay.commands())


@pytest.mark.parametrize(
    ("sender", "name", "address"),
    [
        (("boss@bank.com", "ok@mine.org"), "boss@bank.com", "ok@mine.org"),
        (("Doe, John", "ok@mine.org"), "Doe, John", "ok@mine.org"),
        (('Anna "Ann" <x@y.org>, b', "ok@mine.org"), 'Anna "Ann" <x@y.org>, b', "ok@mine.org"),
        (("Zoë \\ Ünal", "ok@mine.org"), "Zoë \\ Ünal", "ok@mine.org"),
        ("Doe, John <ok@mine.org>", "Doe, John", "ok@mine.org"),
        ('"Doe, John" <ok@mine.org>', "Doe, John", "ok@mine.org"),
        ("ok@mine.org", "", "ok@mine.org"),
    ],
)
@pytest.mark.parametrize("kind", [Message, flask_mail.Message])
def test_a_display_name_never_becomes_the_address(
    relay: Relay, mail: Mail, kind: type[flask_mail.Message], sender: Any, name: str, address: str
) -> None:
    mail.send(kind("Hello", ["ann@example.org"], "Hi", sender=sender, reply_to=sender))

    [message] = relay.messages()
    assert message.sender == address
    for header in ("From", "Reply-To"):
        [box] = message.parsed[header].addresses
        assert (box.display_name, box.addr_spec) == (name, address)


def test_a_long_list_unsubscribe_url_stays_a_url(relay: Relay, mail: Mail) -> None:
    url = "<https://example.org/unsubscribe/" + "0123456789" * 12 + ">"

    mail.send(hello(extra_headers={"List-Unsubscribe": url, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}))

    raw = relay.messages()[0].raw
    assert url.encode() in raw
    assert b"=?" not in raw


def test_no_line_is_longer_than_smtp_allows_and_the_text_arrives(relay: Relay, mail: Mail) -> None:
    html = "<p>" + "inlined " * 1200 + "</p>"

    mail.send(hello(body="x" * 5000, html=html))

    [message] = relay.messages()
    assert max(map(len, message.raw.split(b"\r\n"))) <= 998
    plain, rich = message.parsed.iter_parts()
    assert plain.get_content().rstrip("\n") == "x" * 5000
    assert rich.get_content().rstrip("\n") == html
    assert relay.violations() == []


def test_an_attached_message_leaks_no_bare_line_feed(relay: Relay, mail: Mail) -> None:
    with pytest.raises(UnsendableMessage):
        mail.send(hello(attachments=[flask_mail.Attachment("a.eml", "message/rfc822", b"Subject: x\n\nbare\n")]))

    assert relay.messages() == []


# Stability


def test_bytes_message_id_and_date_are_the_same_each_time(mail: Mail) -> None:
    message = hello(html="<p>Hi</p>", attachments=[flask_mail.Attachment("a.txt", "text/plain", b"x")])

    assert message.as_bytes() == message.as_bytes() == bytes(message)
    assert f"Message-ID: {message.msgId}\r\n" in message.as_string()


def test_recipients_keep_their_order_each_once(relay: Relay, mail: Mail) -> None:
    people = [f"{name}@example.org" for name in ("zoe", "ann", "mia", "bob", "kim", "eve")]

    mail.send(
        hello(*people, "ANN@example.org", "zoe@example.org", cc=["mia@example.org", "cc@example.org"], bcc=["b@c.org"])
    )

    [first, *_] = messages = relay.messages()
    assert [message.recipients[0] for message in messages] == [*people, "cc@example.org", "b@c.org"]
    assert [each.addr_spec for each in first.parsed["To"].addresses] == people
    assert [each.addr_spec for each in first.parsed["Cc"].addresses] == ["mia@example.org", "cc@example.org"]
    assert b"b@c.org" not in first.raw
    assert len({message.sha256 for message in messages}) == 1


def test_the_date_is_in_utc(mail: Mail) -> None:
    message = hello(date=1_700_000_000.0)

    assert "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n" in message.as_string()


def test_a_message_without_a_date_gets_one_and_keeps_it(relay: Relay, mail: Mail) -> None:
    message = flask_mail.Message("Hello", ["ann@example.org"], "Hi", sender="room@example.org")
    assert message.date is None

    mail.send(message)

    assert message.date is not None
    sent = parsedate_to_datetime(relay.messages()[0].parsed["Date"])
    assert sent.timestamp() == int(message.date)


#: Names asked for while it is a list; an audit hook cannot be taken back.
asked: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if asked is not None and event in ("socket.gethostbyname", "socket.gethostbyaddr", "socket.gethostname"):
        asked.append(event)


sys.addaudithook(_listen)


def test_no_name_of_this_machine_is_asked_for(relay: Relay, mail: Mail) -> None:
    global asked
    asked = []
    try:
        mail.send(hello())
        questions = asked
    finally:
        asked = None

    assert questions == []
    assert relay.connections()[0].hello == "mail.example.org"
    message_id = relay.messages()[0].message_id
    assert message_id is not None
    assert message_id.endswith("@example.org>")


@pytest.mark.parametrize(("host", "name"), [("192.0.2.7", "[192.0.2.7]"), ("2001:db8::1", "[IPv6:2001:db8::1]")])
def test_an_address_is_given_in_ehlo_as_a_literal(relay: Relay, post: Post, host: str, name: str) -> None:
    mail = post(MAIL_LOCAL_HOSTNAME=host)
    with app_of(mail):
        mail.send(hello())

    assert relay.connections()[0].hello == name
    assert relay.violations() == []


def test_an_internationalised_domain_stays_the_domain_it_is(relay: Relay, mail: Mail) -> None:
    mail.send(hello("ann@straße.de", sender=("Ann", "room@faß.de")))

    [message] = relay.messages()
    assert message.recipients == ("ann@xn--strae-oqa.de",)
    assert message.sender == "room@xn--fa-hia.de"
    assert b"ann@xn--strae-oqa.de" in message.raw


def test_a_local_part_beyond_ascii_is_refused_with_a_sentence(relay: Relay, mail: Mail) -> None:
    with pytest.raises(UnsendableMessage):
        mail.send(hello("jürgen@example.org"))

    assert relay.connections() == [] or relay.messages() == []


# Threads and settings


def test_one_connection_shared_by_eight_threads_sends_every_message(relay: Relay, mail: Mail) -> None:
    assert mail.app is not None
    app = mail.app
    with mail.connect() as connection:

        def work(number: int) -> None:
            with app.app_context():
                for count in range(20):
                    connection.send(hello(subject=f"{number}-{count}"))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)

    subjects = [message.parsed["Subject"] for message in relay.messages()]
    assert sorted(subjects) == sorted(f"{number}-{count}" for number in range(8) for count in range(20))
    assert relay.violations() == []


@pytest.mark.parametrize("word", ["false", "False", "0", "no", "off", "", None, False, 0])
def test_the_word_false_is_false(relay: Relay, word: object) -> None:
    mail = mail_to(relay, MAIL_USE_TLS=word, MAIL_USE_SSL=word, MAIL_SUPPRESS_SEND=word)
    with app_of(mail):
        mail.send(hello())

    assert len(relay.messages()) == 1
    assert not mail.relay_settings().encrypted


@pytest.mark.parametrize("word", ["true", "1", "yes", "on", True, 1])
def test_the_word_true_is_true(word: object) -> None:
    assert RelaySettings.from_config({"MAIL_USE_TLS": word}).use_tls


@pytest.mark.parametrize(
    "config",
    [
        {"MAIL_USE_TLS": "maybe"},
        {"MAIL_USE_SSL": 2},
        {"MAIL_USE_TLS": True, "MAIL_USE_SSL": True},
        {"MAIL_PORT": "smtp"},
        {"MAIL_PORT": 0},
        {"MAIL_PORT": 70000},
        {"MAIL_TIMEOUT": 0},
        {"MAIL_TIMEOUT": "nan"},
        {"MAIL_DEADLINE": -1},
        {"MAIL_DEADLINE": True},
        {"MAIL_PASSWORD": ["hidden"], "MAIL_USERNAME": "room"},
        {"MAIL_LOCAL_HOSTNAME": "two words"},
        {"MAIL_LOCAL_HOSTNAME": "a\r\nQUIT"},
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="|".join(config)) as caught:
        RelaySettings.from_config(config)

    assert "hidden" not in str(caught.value)


def test_a_password_of_digits_is_a_password(relay: Relay, post: Post) -> None:
    relay.configure(users={"room": "12345"}, auth_in_plaintext=True, auth_required=True)
    mail = post(MAIL_USERNAME="room", MAIL_PASSWORD=12345)

    with app_of(mail):
        mail.send(hello())

    assert relay.messages()[0].user == "room"


def test_flask_mails_message_has_no_attribute_that_ours_lacks(mail: Mail) -> None:
    theirs = flask_mail.Message("Hello", sender="room@example.org")

    assert vars(theirs).keys() == vars(Message("Hello", sender="room@example.org")).keys()
    assert re.fullmatch(r"<[^@<> ]+@example\.org>", Message("Hello", sender="room@example.org").msgId)
