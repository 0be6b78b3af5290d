"""The test relay as a process: TLS and its faults, the handle's orders, and its end."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.relay.actions import delay, drop, garbage, hang
from tests.relay.client import Client
from tests.relay.process import Relay
from tests.relay.script import Rule

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Relay(tmp_path_factory.mktemp("relay"), tls="starttls", users={"ann": "secret"}) as relay:
        yield relay


@pytest.fixture
def relay(running):
    running.reset()
    return running


@pytest.fixture
def context(relay):
    made = ssl.create_default_context(cafile=str(relay.ca_file))
    made.minimum_version = ssl.TLSVersion.TLSv1_2  # not every build of Python brings this along
    return made


def start_tls(relay, context):
    client = Client(relay.port)
    try:
        client.hello().ask("STARTTLS")
        client.secure(context).ask("EHLO client.test")
    except BaseException:
        client.socket.close()
        raise
    return client


def test_mail_and_credentials_go_through_starttls(relay, context):
    with start_tls(relay, context) as client:
        assert client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=").startswith("235")
        assert client.deliver("bob@example.org").startswith("250")
        assert client.ask("QUIT").startswith("221")
        assert client.rest() == b""

    [message] = relay.messages()
    assert (message.tls, message.user) == (True, "ann")
    assert [command.verb for command in relay.commands() if not command.tls] == ["EHLO", "STARTTLS"]
    assert relay.connections()[0].tls == "TLSv1.3"
    assert relay.violations() == []


def test_mail_goes_through_implicit_tls(relay, context):
    relay.configure(tls="implicit")
    with Client(relay.port) as client:
        client.secure(context).hello().deliver("bob@example.org")

    assert [message.tls for message in relay.messages()] == [True]
    assert all(command.tls for command in relay.commands())
    assert relay.violations() == []


def test_a_large_message_goes_through_tls_whole(relay, context):
    content = (b"x" * 98 + b"\r\n") * 30_000
    with start_tls(relay, context) as client:
        client.deliver("bob@example.org", content=content)

    assert relay.messages()[0].raw == content


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("certificate", "why"), [("unknown_ca", "issuer"), ("wrong_name", "mismatch"), ("expired", "expired")]
)
def test_a_bad_certificate_is_bad_for_its_own_reason(relay, context, tls, certificate, why):
    relay.configure(tls=tls, certificate=certificate)
    with Client(relay.port) as client:
        if tls == "starttls":
            client.hello().ask("STARTTLS")
        with pytest.raises(ssl.SSLCertVerificationError, match=why):
            client.secure(context)

    relay.wait_until_idle()
    assert relay.connections()[0].handshake_error is not None
    assert {command.verb for command in relay.commands()} <= {"EHLO", "STARTTLS"}


def test_a_relay_of_old_tls_is_refused_with_an_alert_and_speaks_with_its_like(relay, context):
    relay.configure(tls_maximum="TLSv1_1")
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
        start_tls(relay, context)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with start_tls(relay, context) as client:
        assert client.ask("NOOP").startswith("250")

    assert relay.connections()[-1].tls == "TLSv1.1"


def test_a_stripped_relay_neither_offers_nor_takes_starttls(relay):
    relay.configure(tls="none")
    with Client(relay.port) as client:
        client.reply()
        client.send("EHLO client.test")
        assert "250-STARTTLS" not in [client.line() for _ in range(5)]
        assert client.ask("STARTTLS").startswith("503")


def test_plain_words_behind_starttls_are_forgotten_and_reported(relay, context):
    with Client(relay.port) as client:
        client.hello().send("STARTTLS", "NOOP")
        client.reply()
        assert client.secure(context).ask("EHLO client.test").startswith("250")

    assert [(each.kind, each.detail) for each in relay.violations()] == [("pipelined", "after STARTTLS")]
    assert [command.verb for command in relay.commands()] == ["EHLO", "STARTTLS", "EHLO"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("action", "error"),
    [(drop(), OSError), (garbage("text"), ssl.SSLError), (hang(), TimeoutError), (delay(0.01), None)],
)
def test_a_handshake_can_fail_in_its_own_ways(relay, context, tls, action, error):
    relay.configure(tls=tls)
    relay.script(Rule("handshake", action))
    with Client(relay.port) as client:
        if tls == "starttls":
            client.hello().ask("STARTTLS")
        client.socket.settimeout(0.1 if error is TimeoutError else 10)
        if error is None:
            client.secure(context)
        else:
            with pytest.raises(error):
                client.secure(context)

    relay.wait_until_idle()
    assert relay.faults() == ["handshake"]


def test_a_latency_holds_for_tls_too(relay, context):
    relay.configure(latency_ms=5)
    with start_tls(relay, context) as client:
        assert client.deliver("bob@example.org").startswith("250")

    assert relay.violations() == []


def test_a_relay_that_refuses_comes_back_on_the_same_port(relay):
    with Client(relay.port) as client:
        client.hello()
        relay.refuse()
        with pytest.raises(ConnectionRefusedError):
            Client(relay.port)
        assert client.ask("NOOP").startswith("250")
        relay.listen()
        with Client(relay.port) as other:
            other.hello()


def test_nobody_else_gets_the_port_of_a_relay_that_refuses(relay):
    relay.refuse()
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind((relay.host, relay.port))


def test_a_paused_relay_is_connected_to_and_says_nothing(relay):
    relay.pause()
    with Client(relay.port, timeout=0.1) as client:
        with pytest.raises(TimeoutError):
            client.reply()
        relay.resume()
        client.socket.settimeout(10)
        client.hello()


def test_open_connections_can_be_closed_from_outside(relay):
    for farewell in ("421 4.3.2 shutting down", None):
        with Client(relay.port) as client:
            client.hello()
            relay.disconnect(farewell)
            if farewell is not None:
                assert client.rest().decode() == farewell + "\r\n"
            else:
                with pytest.raises(ConnectionResetError):
                    client.rest()


def test_a_restart_keeps_port_and_log_and_follows_the_script_of_meanwhile(tmp_path):
    with Relay(tmp_path) as relay:
        port = relay.port
        with Client(port) as client:
            client.hello().deliver("bob@example.org")
            relay.stop()
            assert client.rest() == b""
        assert len(relay.messages()) == 1
        relay.configure(hostname="second.test")
        relay.start()
        with Client(port) as client:
            assert client.reply() == "220 second.test ESMTP"
            client.ask("EHLO client.test")
            client.deliver("bob@example.org")

        assert [message.queue_id for message in relay.messages()] == ["1-1", "2-1"]
        assert len(relay.connections()) == 2


def test_a_log_of_counts_holds_what_an_audit_needs_and_no_more(tmp_path):
    with Relay(tmp_path, log_level="counts") as relay, Client(relay.port) as client:
        client.hello().deliver("bob@example.org", content=b"Message-ID:\r\n <1@x>\r\n\r\nhello\r\n")

        [message] = relay.messages()
        assert (message.message_id, message.recipients, message.raw) == ("<1@x>", ("bob@example.org",), b"")
        assert len(message.sha256) == 64
        assert relay.commands() == []
        assert relay.concurrency() == 1


def test_an_order_that_makes_no_sense_is_refused_and_changes_nothing(relay):
    with pytest.raises(TypeError):
        relay.configure(colour="blue")
    with pytest.raises(ValueError, match="no such TLS"):
        relay.configure(certificate="forged")
    with Client(relay.port) as client:
        client.hello()


def test_waiting_in_vain_tells_what_was_said(relay):
    with Client(relay.port) as client:
        client.hello()
        with pytest.raises(TimeoutError, match=r"C: EHLO client\.test"):
            relay.wait_for(1, timeout=0.01)


def test_a_relay_dies_with_the_process_that_started_it(tmp_path):
    code = (
        "import sys, pathlib\nfrom tests.relay.process import Relay\n"
        f"relay = Relay(pathlib.Path({str(tmp_path)!r})).start()\nprint(relay.pid, flush=True)\nsys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()

    deadline = time.monotonic() + 30
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
