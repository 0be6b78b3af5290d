"""What users of Flask-Mail know: `mail.send`, `with mail.connect()`, suppressed sending, signals, recorded messages."""

from collections.abc import Callable, Iterator

import flask_mail
import pytest
from flask import Flask

from api.core.claim import Blame
from api.delivery.message import Message
from api.delivery.mime import UnsendableMessage
from api.delivery.smtp import Mail, NoSession, NotSent
from tests.delivery.given import a_content
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Rule

Post = Callable[..., Mail]


@pytest.fixture
def mail(post: Post) -> Iterator[Mail]:
    """A transport inside its app's context."""
    mail = post()
    assert mail.app is not None
    with mail.app.app_context():
        yield mail


def test_a_message_has_all_that_flask_mail_offers(relay: Relay, mail: Mail) -> None:
    message = Message(
        subject="Größe 5 €",
        recipients=["ann@example.org", ("Bob, Jr.", "bob@example.org")],
        body="Text",
        html="<p>HTML</p>",
        cc=["cc@example.org"],
        reply_to=("Answers", "reply@example.org"),
        extra_headers={"X-Order": "7"},
    )
    message.attach("ä.txt", data="Straße")
    message.attach("logo.png", "image/png", b"\x89PNG", "inline", {"Content-ID": "<logo>"})
    message.add_recipient("eve@example.org")

    mail.send(message)

    first, *others = relay.messages()
    assert [each.recipients[0] for each in (first, *others)] == [
        "ann@example.org",
        "bob@example.org",
        "eve@example.org",
        "cc@example.org",
    ]
    parsed = first.parsed
    assert parsed["Subject"] == "Größe 5 €"
    assert parsed["X-Order"] == "7"
    assert parsed["To"].addresses[1].display_name == "Bob, Jr."
    assert str(parsed["Reply-To"]) == "Answers <reply@example.org>"
    files = {part.get_filename(): part for part in parsed.walk() if part.get_filename()}
    assert files["ä.txt"].get_content().strip() == "Straße"
    assert files["logo.png"]["Content-ID"] == "<logo>"
    assert relay.violations() == []


def test_the_default_sender_is_used(relay: Relay, mail: Mail) -> None:
    mail.send_message("Hello", recipients=["ann@example.org"], body="Hi")

    assert relay.messages()[0].sender == "room@example.org"
    assert str(relay.messages()[0].parsed["From"]) == "Post Room <room@example.org>"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (("Support", "from@example.com"), "Support <from@example.com>"),
        (("Doe, John", "from@example.com"), '"Doe, John" <from@example.com>'),
        (("", "from@example.com"), "from@example.com"),
        ("from@example.com", "from@example.com"),
    ],
)
def test_a_sender_is_written_as_flask_mail_writes_it_but_quoted(mail: Mail, given: str, written: str) -> None:
    assert Message("Hello", sender=given).sender == written


def test_the_envelopes_sender_may_differ(relay: Relay, mail: Mail) -> None:
    with mail.connect() as connection:
        connection.send(Message("Hello", ["ann@example.org"], "Hi"), envelope_from=("Bounces", "bounce@example.org"))

    assert relay.messages()[0].sender == "bounce@example.org"
    assert "room@example.org" in relay.messages()[0].parsed["From"]


def test_many_messages_go_over_one_connection(relay: Relay, mail: Mail) -> None:
    with mail.connect() as connection:
        for number in range(5):
            connection.send_message(f"Number {number}", ["ann@example.org"], "Hi")

    assert len(relay.connections()) == 1
    assert connection.host is None
    assert connection.num_emails == 5


def test_esmtp_options_reach_the_relay(relay: Relay, mail: Mail) -> None:
    mail.send(Message("Hello", ["ann@example.org"], "Hi", mail_options=["BODY=8BITMIME"]))

    [command] = [each.line for each in relay.commands() if each.verb == "MAIL"]
    assert command.startswith("MAIL FROM:<room@example.org> BODY=8BITMIME SIZE=")


@pytest.mark.parametrize("config", [{"TESTING": True}, {"MAIL_SUPPRESS_SEND": True}, {"MAIL_SUPPRESS_SEND": "true"}])
def test_suppressed_mail_is_recorded_and_not_sent(relay: Relay, post: Post, config: dict[str, object]) -> None:
    mail = post(**config)
    assert mail.app is not None
    message = Message("Hello", ["ann@example.org"], "Hi", sender="room@example.org")

    with mail.app.app_context(), mail.record_messages() as outbox, mail.connect() as connection:
        connection.send(message)
        assert connection.host is None

    assert outbox == [message]
    assert relay.connections() == []


def test_a_sent_message_is_announced_and_a_refused_one_not(relay: Relay, mail: Mail) -> None:
    relay.script(Rule("rcpt", actions.reply("550 5.1.1 no"), recipient="bob@*"))
    announced: list[tuple[Flask, flask_mail.Message]] = []

    def hear(app: Flask, message: flask_mail.Message) -> None:
        announced.append((app, message))

    sent, refused = Message("1", ["ann@example.org"], "Hi"), Message("2", ["bob@example.org"], "Hi")
    with flask_mail.email_dispatched.connected_to(hear):
        mail.send(sent)
        with pytest.raises(NotSent):
            mail.send(refused)

    assert announced == [(mail.app, sent)]


def test_once_the_relay_fails_nobody_else_is_tried(relay: Relay, mail: Mail) -> None:
    relay.script(Rule("mail", actions.close_after("421 4.3.2 enough"), after=1))

    with pytest.raises(NotSent) as error:
        mail.send(Message("Hello", [f"{name}@example.org" for name in ("a", "b", "c", "d")], "Hi"))

    assert error.value.sent == ("a@example.org",)
    assert {each: verdict.blame for each, verdict in error.value.refused.items()} == dict.fromkeys(
        ("b@example.org", "c@example.org", "d@example.org"), Blame.RELAY
    )
    assert len(relay.connections()) == 2


def test_a_relay_that_cannot_be_reached_is_told_before_any_message(relay: Relay, mail: Mail) -> None:
    relay.refuse()

    with pytest.raises(NoSession) as error, mail.connect():
        pytest.fail("connected")

    assert error.value.verdict.blame is Blame.RELAY


def test_a_message_needs_a_recipient_and_a_sender(post: Post) -> None:
    mail = post(MAIL_DEFAULT_SENDER=None)
    assert mail.app is not None
    with mail.app.app_context(), mail.connect() as connection:
        with pytest.raises(AssertionError, match="recipients"):
            connection.send(Message("Hello", [], "Hi", sender="room@example.org"))
        with pytest.raises(AssertionError, match="sender"):
            connection.send(Message("Hello", ["ann@example.org"], "Hi"))


def test_an_alternative_that_cannot_be_kept_is_refused(relay: Relay, mail: Mail) -> None:
    with pytest.raises(UnsendableMessage, match="calendar"):
        mail.send(Message("Hello", ["ann@example.org"], "Hi", alts={"calendar": "BEGIN:VCALENDAR"}))

    file = flask_mail.Attachment("a.txt", "text/plain", "x", headers={"X-Odd": "1"})
    with pytest.raises(UnsendableMessage, match="Content-ID"):
        mail.send(Message("Hello", ["ann@example.org"], "Hi", attachments=[file]))


def test_file_names_are_made_ascii_when_that_is_asked_for(relay: Relay, post: Post) -> None:
    mail = post(MAIL_ASCII_ATTACHMENTS="true")
    assert mail.app is not None
    with mail.app.app_context():
        file = flask_mail.Attachment("Über  größe.txt", "text/plain", b"x")
        mail.send(Message("Hello", ["ann@example.org"], "Hi", attachments=[file]))

    [part] = relay.messages()[0].parsed.iter_attachments()
    assert part.get_filename() == "Uber groe.txt"


def test_one_extension_serves_several_apps(relay: Relay) -> None:
    mail = Mail()
    apps = [Flask("one"), Flask("two")]
    for app in apps:
        app.config.update(MAIL_SERVER=relay.host, MAIL_PORT=relay.port, MAIL_DEFAULT_SENDER=f"{app.name}@example.org")
        mail.init_app(app)
    for app in apps:
        with app.app_context():
            mail.send(Message("Hello", ["ann@example.org"], "Hi"))

    assert [message.sender for message in relay.messages()] == ["one@example.org", "two@example.org"]


def test_an_app_without_the_extension_is_told_so() -> None:
    with Flask("bare").app_context(), pytest.raises(RuntimeError, match="not configured"):
        Mail().connect()


def test_a_frozen_message_is_its_content_to_one_recipient(relay: Relay, mail: Mail) -> None:
    content = a_content(html="<p>Hi</p>", headers=(("X-Order", "7"),))
    message = Message.of(content, "hidden@example.org")

    mail.send(message)

    [received] = relay.messages()
    assert received.recipients == ("hidden@example.org",)
    assert received.message_id == content.message_id
    assert received.raw == message.as_bytes()
    assert "hidden" not in message.as_string()
    assert isinstance(message, flask_mail.Message)
    assert (message.subject, message.body, message.html) == ("Hello", content.text, "<p>Hi</p>")


def test_a_frozen_message_of_octets_is_the_same_as_one_of_text() -> None:
    content = a_content(text="Grüße\n", html="<p>Grüße</p>\n")
    octets = content._replace(text="Grüße\n".encode(), html="<p>Grüße</p>\n".encode())

    message, other = (Message.of(each, "ann@example.org") for each in (octets, content))

    assert message.as_bytes() == other.as_bytes()
    assert (message.body, message.html) == ("Grüße\n", "<p>Grüße</p>\n")
