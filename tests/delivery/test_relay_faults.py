"""The test relay's misbehaviour: each action at each phase, and which rule holds when."""

import pytest

from tests.relay.actions import close_after, delay, drip, drop, garbage, hang, reply, reset
from tests.relay.client import Client
from tests.relay.process import Relay
from tests.relay.script import Action, Phase, Rule

MAIL, RCPT = "MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.org>"
#: What brings a client to a phase: lines that are answered first, and what then is sent.
WAYS: dict[str, tuple[list[str], str | bytes]] = {
    "connect": ([], b""),
    "banner": ([], b""),
    "ehlo": ([], "EHLO client.test"),
    "helo": ([], "HELO client.test"),
    "starttls": (["EHLO client.test"], "STARTTLS"),
    "auth": (["EHLO client.test"], "AUTH PLAIN AGFubgBzZWNyZXQ="),
    "mail": (["EHLO client.test"], MAIL),
    "rcpt": (["EHLO client.test", MAIL], RCPT),
    "data": (["EHLO client.test", MAIL, RCPT], "DATA"),
    "body": (["EHLO client.test", MAIL, RCPT, "DATA"], b"Subject: hello\r\n\r\nhel"),
    "dot": (["EHLO client.test", MAIL, RCPT, "DATA"], b"Subject: hello\r\n\r\nhello\r\n.\r\n"),
    "after_dot": (["EHLO client.test", MAIL, RCPT, "DATA"], b"Subject: hello\r\n\r\nhello\r\n.\r\n"),
    "rset": (["EHLO client.test"], "RSET"),
    "noop": (["EHLO client.test"], "NOOP"),
    "quit": (["EHLO client.test"], "QUIT"),
}
PHASES = list(WAYS)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    path = tmp_path_factory.mktemp("relay")
    with Relay(path, tls="starttls", users={"ann": "secret"}, auth_in_plaintext=True) as relay:
        yield relay


@pytest.fixture
def relay(running):
    running.reset()
    return running


@pytest.fixture
def reach(relay):
    """Connect and go to a phase; its own reply is not read."""
    clients = []

    def go(phase):
        client = Client(relay.port)
        clients.append(client)
        before, last = WAYS[phase]
        if phase not in ("connect", "banner"):
            client.reply()
        for line in before:
            client.ask(line)
        client.send(last)
        return client

    yield go
    for client in clients:
        client.socket.close()


def push(client, size):
    """Send so many octets, giving up when nothing is taken any more."""
    while size > 0:
        size -= client.socket.send(b"x" * min(size, 1_000_000))


def test_every_phase_is_tried():
    assert set(WAYS) | {"handshake"} == set(Phase)


@pytest.mark.parametrize("phase", PHASES)
def test_a_reply_replaces_the_normal_one(relay, reach, phase):
    relay.script(Rule(phase, reply("450-4.2.0 come", "450 4.2.0 later")))
    client = reach(phase)

    assert [client.line(), client.line()] == ["450-4.2.0 come", "450 4.2.0 later"]
    assert relay.faults() == [phase]
    assert len(relay.messages()) == (phase == "after_dot")


@pytest.mark.parametrize("phase", PHASES)
def test_a_drop_closes_without_a_word(relay, reach, phase):
    relay.script(Rule(phase, drop()))

    assert reach(phase).rest() == b""
    assert len(relay.messages()) == (phase == "after_dot")


@pytest.mark.parametrize("phase", PHASES)
def test_a_reset_is_seen_as_one(relay, reach, phase):
    relay.script(Rule(phase, reset()))

    with pytest.raises(ConnectionResetError):
        reach(phase).rest()


@pytest.mark.parametrize("phase", PHASES)
def test_421_and_a_close_is_all_that_comes(relay, reach, phase):
    relay.script(Rule(phase, close_after("421 4.3.2 bye")))

    assert reach(phase).rest() == b"421 4.3.2 bye\r\n"


@pytest.mark.parametrize("phase", PHASES)
def test_a_hang_lasts_until_the_client_leaves(relay, reach, phase):
    relay.script(Rule(phase, hang()))
    client = reach(phase)
    client.socket.settimeout(0.05)

    with pytest.raises(TimeoutError):
        client.rest()
    client.socket.close()
    relay.wait_until_idle()
    assert len(relay.messages()) == (phase == "after_dot")


@pytest.mark.parametrize("phase", PHASES)
def test_a_hang_of_some_time_ends_with_a_drop(relay, reach, phase):
    relay.script(Rule(phase, hang(0.01)))

    assert reach(phase).rest() == b""


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase not in ("connect", "body")])
def test_a_delay_changes_nothing_else(relay, reach, phase):
    expected = reach(phase).line()
    relay.script(Rule(phase, delay(0.01)))

    assert reach(phase).line()[:12] == expected[:12]


def test_a_client_that_leaves_during_a_delay_before_acceptance_has_sent_nothing(relay, reach):
    relay.script(Rule("dot", delay(60)))
    client = reach("dot")
    assert relay.faults() == ["dot"]
    client.socket.close()
    relay.wait_until_idle()

    assert relay.messages() == []


def test_a_delayed_body_still_becomes_a_message(relay, reach):
    relay.script(Rule("body", delay(0.01)))
    client = reach("body")

    assert client.ask(b"lo\r\n.\r\n").startswith("250")
    assert len(relay.messages()) == 1


def test_a_reply_while_content_arrives_is_the_only_one(relay, reach):
    relay.script(Rule("body", reply("452 4.3.1 disk full")))
    client = reach("body")

    assert client.reply() == "452 4.3.1 disk full"
    assert client.ask(b"lo\r\n.\r\nNOOP\r\n") == "250 2.0.0 ok"
    assert relay.messages() == []


def test_a_hang_in_the_body_reads_no_more(relay, reach):
    relay.script(Rule("body", hang(), at_bytes=10))
    client = reach("body")
    client.socket.settimeout(0.2)

    with pytest.raises(TimeoutError):
        push(client, 50_000_000)


@pytest.mark.parametrize("action", [reply("354 go on"), drip("354 go on", interval=0.001), garbage("wrong_code")])
def test_a_reply_of_the_wrong_class_accepts_nothing(relay, reach, action):
    relay.script(Rule("dot", action))

    assert reach("dot").reply() == "354 go on"
    assert relay.messages() == []


def test_a_positive_reply_accepts_like_the_normal_one(relay, reach):
    relay.script(Rule("rcpt", reply("251 2.1.5 forwarded")), Rule("dot", reply("250 2.0.0 Ok: queued as 4XyZ")))

    assert reach("dot").reply() == "250 2.0.0 Ok: queued as 4XyZ"
    assert len(relay.messages()) == 1


@pytest.mark.parametrize(
    ("kind", "phase", "start"),
    [
        ("text", "rcpt", b"this is no reply\r\n"),
        ("binary", "mail", b"\x00\x01\x02"),
        ("empty", "banner", b"\r\n"),
        ("wrong_code", "rcpt", b"354 "),
        ("wrong_code", "data", b"250 "),
        ("huge_line", "ehlo", b"250 " + b"x" * 300_000),
        ("endless_lines", "dot", b"250-and there is more to say\r\n" * 5_000),
    ],
)
def test_garbage_comes_instead_of_a_reply(relay, reach, kind, phase, start):
    relay.script(Rule(phase, garbage(kind)))
    client = reach(phase)
    got = b""
    while len(got) < len(start):
        got += client.socket.recv(65536)

    assert got.startswith(start)
    client.socket.close()
    relay.wait_until_idle()
    assert relay.messages() == []


@pytest.mark.parametrize("phase", PHASES)
def test_a_drip_comes_byte_by_byte_and_ends(relay, reach, phase):
    relay.script(Rule(phase, drip("450 4.2.0 drop by drop", interval=0.001)))

    assert reach(phase).reply() == "450 4.2.0 drop by drop"


def test_an_unfinished_drip_never_ends_its_line(relay, reach):
    relay.script(Rule("mail", drip("250 ok", interval=0.001, finish=False)))
    client = reach("mail")
    got = b""
    while len(got) < 50:
        got += client.socket.recv(1)

    assert got == b"250 ok" + b"." * 44


def test_a_drip_of_the_normal_reply_accepts(relay, reach):
    relay.script(Rule("dot", drip(interval=0.001)))

    assert reach("dot").reply().startswith("250 2.0.0 queued as")
    assert len(relay.messages()) == 1


@pytest.mark.parametrize("action", [drop(after_reply=True), Action(hang=0.01, after_reply=True)])
def test_the_fault_after_a_reply_leaves_the_reply(relay, reach, action):
    relay.script(Rule("dot", action))
    rest = reach("dot").rest()

    assert rest.startswith(b"250 2.0.0 queued")
    assert rest.count(b"\n") == 1
    assert len(relay.messages()) == 1


def test_a_drop_after_221_and_one_in_its_place_both_keep_the_message(relay, reach):
    for action, farewell in ((drop(), b""), (drop(after_reply=True), b"221 2.0.0 bye\r\n")):
        relay.script(Rule("quit", action))
        client = reach("dot")
        client.reply()
        client.send("QUIT")
        assert client.rest() == farewell

    assert len(relay.messages()) == 2
