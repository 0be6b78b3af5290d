"""Which rule of the test relay's script holds when, what a 421 does to a connection, and who is killed."""

import signal
import subprocess
import sys

import pytest

from tests.relay.actions import drip, hang, kill, reply
from tests.relay.client import Client
from tests.relay.process import Relay
from tests.relay.script import Rule, Script, decode, encode

MAIL, RCPT = "MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.org>"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Relay(tmp_path_factory.mktemp("relay")) as relay:
        yield relay


@pytest.fixture
def relay(running):
    running.reset()
    return running


def test_rules_choose_by_recipient_sender_and_subject(relay):
    relay.script(
        Rule("rcpt", reply("550 5.1.1 no Bob"), recipient="BOB@*"),
        Rule("mail", reply("550 5.7.1 not Eve"), sender="eve@example.org"),
        Rule("dot", reply("554 5.6.0 bad word"), subject="*CASINO*"),
        Rule("dot", reply("451 4.3.0 for Dan only"), recipient="dan@*"),
    )
    with Client(relay.port) as client:
        client.hello()
        assert client.ask("MAIL FROM:<eve@example.org>").startswith("550")
        client.ask(MAIL)
        assert [client.ask(f"RCPT TO:<{name}@example.org>")[:3] for name in ("bob", "ann")] == ["550", "250"]
        client.ask("DATA")
        assert client.ask(b"Subject: =?utf-8?q?my_casino?=\r\n\r\n\r\n.\r\n").startswith("554")
        assert client.deliver("ann@example.org", "dan@example.org").startswith("451")
        assert client.deliver("ann@example.org").startswith("250")


def test_rules_count_their_hits_and_the_first_that_is_not_used_up_decides(relay):
    relay.script(Rule("noop", reply("450 one"), after=1, times=2), Rule("noop", reply("450 two"), times=1))
    with Client(relay.port) as client:
        client.hello()
        assert [client.ask("NOOP") for _ in range(5)] == ["450 two", "450 one", "450 one", *["250 2.0.0 ok"] * 2]


def test_content_in_many_pieces_is_one_hit(relay):
    relay.script(Rule("body", reply("452 4.3.1 disk full"), after=1))
    with Client(relay.port) as client:
        client.hello().envelope("bob@example.org")
        for octet in b"Subject: slow\r\n\r\n.\r\n":
            client.send(bytes([octet]))
            relay.commands()
        assert client.reply().startswith("250")
        client.envelope("bob@example.org")
        client.send(b"Subject")
        assert client.reply() == "452 4.3.1 disk full"


def test_chances_are_drawn_from_the_seed(relay):
    draws = []
    for seed in (1, 1, 2):
        relay.script(Rule("noop", reply("450 bad luck"), probability=0.5), seed=seed)
        with Client(relay.port) as client:
            client.hello()
            draws.append([client.ask("NOOP")[:3] for _ in range(64)])

    assert draws[0] == draws[1] != draws[2]
    assert set(draws[0]) == {"250", "450"}


def test_new_rules_hold_for_the_next_step_of_an_open_connection(relay):
    with Client(relay.port) as client:
        client.hello()
        for code in range(450, 500):
            relay.script(Rule("noop", reply(f"{code} now")))
            assert client.ask("NOOP") == f"{code} now"


def test_only_quit_may_follow_a_421(relay):
    relay.configure(pipelining=False)
    relay.script(Rule("mail", reply("421 4.3.2 going down")))
    with Client(relay.port) as client:
        client.hello().ask(MAIL)
        assert client.ask("RSET").startswith("421")
        assert client.ask("QUIT").startswith("221")

    assert [(each.kind, each.detail) for each in relay.violations()] == [("after_421", "b'RSET'")]


def test_a_group_that_was_under_way_at_a_421_is_let_pass_but_no_second_one(relay):
    relay.script(Rule("mail", reply("421 4.3.2 going down")))
    with Client(relay.port) as client:
        client.hello().send(MAIL, RCPT, "DATA")
        assert [client.reply()[:3] for _ in range(3)] == ["421"] * 3
        assert relay.violations() == []
        client.ask("RSET")

    assert [each.kind for each in relay.violations()] == ["after_421"]


@pytest.mark.parametrize("whom", ["peer", "the client"])
def test_a_kill_hits_the_client_at_its_point_and_the_message_is_kept(relay, whom):
    code = (
        f"import smtplib\nwith smtplib.SMTP('127.0.0.1', {relay.port}, local_hostname='x') as client:\n"
        "    input()\n    client.sendmail('a@example.org', ['b@example.org'], 'x')\n    print('survived')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    relay.register("the client", process.pid)
    relay.script(Rule("dot", kill(whom)))
    output, _ = process.communicate(b"\n", timeout=30)

    assert (process.returncode, output) == (-signal.SIGKILL, b"")
    assert len(relay.wait_for(1)) == 1
    assert [(each.pid, each.found) for each in relay.kills()] == [(process.pid, True)]


def test_a_test_that_is_its_own_peer_survives(relay):
    relay.script(Rule("noop", kill("peer")))
    with Client(relay.port) as client:
        assert client.hello().ask("NOOP").startswith("250")

    assert [(each.pid, each.found) for each in relay.kills()] == [(None, False)]


def test_a_script_survives_its_way_through_json():
    rules = (Rule("dot", hang()), Rule("rcpt", drip("250 ok"), recipient="a@*"), Rule("mail", reply("450 a", "450 b")))
    script = Script(rules=rules, seed=3, processes={"x": 7})

    assert decode(encode(script)) == script


@pytest.mark.parametrize(
    "rule",
    [
        {"phase": "lunch", "action": {"drop": True}},
        {"phase": "mail", "action": {"garbage": "perfume"}},
        {"phase": "mail", "action": {"explode": True}},
        {"phase": "mail", "action": {}, "recipent": "typo"},
    ],
)
def test_a_rule_with_an_unknown_word_is_refused(rule):
    with pytest.raises((ValueError, TypeError)):
        decode({"rules": [rule]})
