"""The test relay as an ordinary SMTP server: what it understands, logs and objects to."""

import base64
import smtplib
import time

import pytest

from tests.relay.client import Client
from tests.relay.process import Relay


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Relay(tmp_path_factory.mktemp("relay")) as relay:
        yield relay


@pytest.fixture
def relay(running):
    running.reset()
    return running


@pytest.fixture
def client(relay):
    with Client(relay.port) as client:
        yield client


def kinds(relay):
    return [violation.kind for violation in relay.violations()]


def test_a_message_is_logged_exactly_as_it_was_sent(relay):
    content = "Subject: grüße\r\nMessage-ID: <1@x>\r\n\r\n.dot\r\n..dots\r\n.\r\nend\r\n".encode()
    with smtplib.SMTP(relay.host, relay.port, local_hostname="client.test") as client:
        client.sendmail("ann@example.org", ["bob@example.org", "eve@example.org"], content, ["BODY=8BITMIME"])

    [message] = relay.messages()
    assert message.raw == content
    assert (message.sender, message.recipients) == ("ann@example.org", ("bob@example.org", "eve@example.org"))
    assert (message.message_id, message.tls, message.user) == ("<1@x>", False, None)
    assert message.parsed["Message-ID"] == "<1@x>"
    assert relay.violations() == []


def test_a_message_is_in_the_log_before_its_250_is_read(relay, client):
    reply = client.hello().deliver("bob@example.org")

    assert reply.startswith("250 2.0.0 ")
    assert [f"queued as {message.queue_id}" for message in relay.messages()] == [reply.removeprefix("250 2.0.0 ")]


def test_an_empty_message_ends_at_once(relay, client):
    assert client.hello().deliver("bob@example.org", content=b"").startswith("250")

    assert [message.raw for message in relay.messages()] == [b""]


def test_content_that_comes_in_single_bytes_is_one_message(relay, client):
    client.hello().envelope("bob@example.org")
    for octet in b"Subject: slow\r\n\r\n..\r\n.\r\n":
        client.send(bytes([octet]))

    assert client.reply().startswith("250")
    assert [message.raw for message in relay.messages()] == [b"Subject: slow\r\n\r\n.\r\n"]


def test_pipelined_commands_and_messages_are_answered_in_order(relay, client):
    group = ["MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.org>", "RCPT TO:<>", "DATA"]
    client.hello().send(*group)
    first = [client.reply()[:3] for _ in group]
    client.send(b"one\r\n.\r\n", *group)
    second = [client.reply()[:3] for _ in [".", *group]]
    client.send(b"two\r\n.\r\n", "QUIT")

    assert first == ["250", "250", "501", "354"]
    assert second == ["250", "250", "250", "501", "354"]
    assert [client.reply()[:3] for _ in range(2)] == ["250", "221"]
    assert [message.raw for message in relay.messages()] == [b"one\r\n", b"two\r\n"]
    assert relay.violations() == []


def test_pipelining_without_the_offer_is_a_violation(relay, client):
    relay.configure(pipelining=False)
    client.hello().send("MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.org>")

    assert [client.reply()[:3] for _ in range(2)] == ["250", "250"]
    assert kinds(relay) == ["pipelined"]


def test_content_that_comes_before_the_354_is_a_violation(relay, client):
    client.hello()
    client.ask("MAIL FROM:<ann@example.org>")
    client.ask("RCPT TO:<bob@example.org>")
    client.send("DATA", b"too early\r\n.\r\n")

    assert client.reply().startswith("354")
    assert kinds(relay) == ["pipelined"]


def test_replies_to_one_group_are_late_together(relay, client):
    client.hello()
    relay.configure(latency_ms=30)
    group = ["MAIL FROM:<ann@example.org>", *["RCPT TO:<bob@example.org>"] * 500, "DATA"]
    start = time.monotonic()

    client.send(*group)

    assert [client.reply()[:3] for _ in group] == ["250"] * 501 + ["354"]
    assert 0.030 <= time.monotonic() - start < 500 * 0.030
    assert relay.violations() == []


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"a\nb\r\n", "bare_newline"),
        (b"a\rb\r\n", "bare_newline"),
        (b"x" * 999 + b"\r\n", "long_line"),
        (b"nul\0\r\n", "nul"),
        ("ü\r\n".encode(), "eight_bit"),
    ],
)
def test_content_that_breaks_the_standard_is_kept_and_reported(relay, client, content, kind):
    assert client.hello().deliver("bob@example.org", content=content).startswith("250")

    assert relay.messages()[0].raw == content
    assert kinds(relay) == [kind]


def test_a_line_of_998_octets_is_no_violation_even_with_a_stuffed_dot(relay, client):
    client.hello().deliver("bob@example.org", content=b"." + b"." * 998 + b"\r\n")

    assert relay.messages()[0].raw == b"." * 998 + b"\r\n"
    assert relay.violations() == []


@pytest.mark.parametrize(
    ("lines", "reply", "kind"),
    [
        (["MAIL FROM:<a@b.test>"], "250", None),
        (["MAIL FROM:<>"], "250", None),
        (["MAIL FROM: <a@b.test>"], "250", "syntax"),
        (["MAIL FROM:a@b.test"], "501", None),
        (["MAIL FROM:<a@b.test> SIZE=99999999"], "552", None),
        (["MAIL FROM:<a@b.test> NOVELTY=1"], "555", "parameter"),
        (["MAIL FROM:<a@b.test>", "MAIL FROM:<a@b.test>"], "503", "order"),
        (["MAIL FROM:<a@b.test>", "RSET", "MAIL FROM:<a@b.test>"], "250", None),
        (["MAIL FROM:<a@b.test>", "EHLO x", "MAIL FROM:<a@b.test>"], "250", None),
        (["STARTTLS"], "503", "order"),
        (["AUTH PLAIN AGEAYg=="], "503", "order"),
        (["NOOP"], "250", None),
        (["VRFY ann"], "252", None),
        (["WHAT"], "500", "unknown_command"),
        ([b"NOOP\n"], "250", "bare_newline"),
        (["NOOP " + "x" * 600], "250", "long_command"),
        (["NOOP ü"], "250", "eight_bit_command"),
        (["QUIT"], "221", None),
    ],
)
def test_each_command_has_its_reply_and_its_rules(relay, client, lines, reply, kind):
    client.hello()

    assert [client.ask(line)[:3] for line in lines][-1] == reply
    assert kinds(relay) == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("line", "reply"), [("RCPT TO:<a@b.test>", "503"), ("DATA", "503"), ("MAIL FROM:<a@b>", "503")]
)
def test_a_command_out_of_order_is_a_violation_of_a_client_that_waits(relay, client, line, reply):
    client.reply()
    if not line.startswith("MAIL"):
        client.ask("HELO client.test")

    assert client.ask(line)[:3] == reply
    assert kinds(relay) == ["order"]


def test_content_over_the_limit_is_refused_and_not_logged(relay, client):
    relay.configure(size_limit=20)

    assert client.hello().deliver("bob@example.org", content=b"x" * 30 + b"\r\n").startswith("552")
    assert relay.messages() == []


def test_a_strict_relay_takes_only_the_full_dot_line_for_the_end(relay, client):
    smuggled = b"a\n.\nb\n.\r\nc\r\n.\nd\r.\re\r\n"
    client.hello().deliver("bob@example.org", content=smuggled)

    assert len(relay.messages()) == 1


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n"])
def test_a_loose_relay_falls_for_a_smuggled_end(relay, client, end):
    relay.configure(loose_dot=True)
    client.hello().envelope("bob@example.org")
    client.send(b"one" + end, "MAIL FROM:<evil@example.org>", "RCPT TO:<bob@example.org>", "DATA")

    assert [client.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]


def test_plain_and_login_authenticate_and_wrong_passwords_do_not(relay):
    relay.configure(users={"ann": "secret"}, auth_in_plaintext=True, auth_required=True)
    encoded = [base64.b64encode(text.encode()).decode() for text in ("\0ann\0secret", "ann", "secret", "wrong")]
    dialogues = {
        (f"AUTH PLAIN {encoded[0]}",): "235",
        ("AUTH PLAIN", encoded[0]): "235",
        ("AUTH LOGIN", encoded[1], encoded[2]): "235",
        (f"AUTH LOGIN {encoded[1]}", encoded[2]): "235",
        (f"AUTH LOGIN {encoded[1]}", encoded[3]): "535",
        ("AUTH LOGIN", "*"): "501",
        ("AUTH MAGIC",): "504",
    }
    for lines, reply in dialogues.items():
        with Client(relay.port) as client:
            client.hello()
            assert [client.ask(line) for line in lines][-1][:3] == reply
            assert client.ask("MAIL FROM:<ann@example.org>")[:3] == ("250" if reply == "235" else "530")


def test_auth_is_offered_only_within_tls_unless_told_otherwise(relay, client):
    relay.configure(users={"ann": "secret"})
    client.reply()
    client.send("EHLO client.test")
    offers = [client.line() for _ in range(5)]

    assert not any("AUTH" in line for line in offers)
    assert client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=").startswith("538")
    assert [command.verb for command in relay.commands()] == ["EHLO", "AUTH"]


def test_limits_of_messages_and_connections_end_with_421(relay, client):
    relay.configure(messages_per_connection=1, connection_limit=1)
    client.hello().deliver("bob@example.org")
    with Client(relay.port) as other:
        assert other.rest() == b"421 4.7.0 too many connections\r\n"

    assert client.ask("MAIL FROM:<ann@example.org>").startswith("421")
    assert client.rest() == b""
    assert relay.concurrency() == 2


def test_a_silent_client_is_told_421_unasked(relay):
    with Client(relay.port) as client:
        client.hello()
        relay.configure(idle_timeout=0.02)
        client.ask("NOOP")
        assert client.rest().startswith(b"421 4.4.2 ")


def test_what_a_client_had_sent_is_on_record_at_once(relay):
    with Client(relay.port) as client:
        client.send("EHLO hasty.test", "NOOP")

    assert [command.line for command in relay.commands()] == ["EHLO hasty.test", "NOOP"]
    [connection] = relay.connections()
    assert (connection.hello, connection.tls) == ("hasty.test", None)


def test_the_dialogue_reads_as_it_was_spoken(relay, client):
    client.hello().ask("NOOP")

    number = relay.connections()[0].number
    assert [line for line in relay.dialogue() if "!" not in line][-2:] == [
        f"{number} C: NOOP",
        f"{number} S: 250 2.0.0 ok",
    ]
