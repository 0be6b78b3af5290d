"""TLS and login against a real relay: what was asked for happens, or nothing is said and nothing is sent."""

from pathlib import Path
from typing import Any

import pytest

from api.core.claim import Blame, Result
from api.delivery.channel import Broken
from api.delivery.sender import Sender
from api.delivery.session import is_loopback, response
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import a_claim, mail_to, yes
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Rule

LOGIN = {"MAIL_USERNAME": "room", "MAIL_PASSWORD": "pässwort-1"}
USERS = {"room": "pässwort-1"}
#: How TLS is asked for, what the relay does then, and the phase in which it is refused.
MODES = {
    "STARTTLS": ({"MAIL_USE_TLS": True}, {"tls": "starttls"}, Phase.STARTTLS),
    "implicit": ({"MAIL_USE_SSL": True}, {"tls": "implicit"}, Phase.CONNECT),
}
Mode = tuple[dict[str, Any], dict[str, Any], Phase]


@pytest.fixture(params=list(MODES.values()), ids=list(MODES))
def mode(request: pytest.FixtureRequest) -> Mode:
    result: Mode = request.param
    return result


@pytest.fixture
def relay(relay: Relay) -> Relay:
    """A relay that wants a login."""
    relay.configure(users=USERS, auth_required=True)
    return relay


def attempt(relay: Relay, **config: Any) -> Result:
    """Try to send one mail with these settings."""
    sender = Sender(mail_to(relay, **config))
    result = sender.send(a_claim(), confirm=yes)
    sender.close()
    return result


def told_nothing(relay: Relay) -> bool:
    """Tell whether the relay was told neither a password nor of any mail, in this and in every other connection."""
    return not {"AUTH", "MAIL", "RCPT", "DATA"} & {command.verb for command in relay.commands()}


def test_mail_goes_over_verified_tls_after_a_login(relay: Relay, mode: Mode) -> None:
    config, settings, _ = mode
    relay.configure(**settings)

    result = attempt(relay, MAIL_CA_FILE=str(relay.ca_file), **config, **LOGIN)

    assert result.outcome is Outcome.SENT
    [message] = relay.messages()
    assert (message.tls, message.user) == (True, "room")
    assert all(command.tls for command in relay.commands() if command.verb in ("AUTH", "MAIL"))
    assert relay.connections()[-1].tls in ("TLSv1.2", "TLSv1.3")
    assert relay.violations() == []


def test_tls_1_2_is_good_enough(relay: Relay, mode: Mode) -> None:
    config, settings, _ = mode
    relay.configure(tls_maximum="TLSv1_2", **settings)

    assert attempt(relay, MAIL_CA_FILE=str(relay.ca_file), **config, **LOGIN).outcome is Outcome.SENT


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"certificate": "unknown_ca"}, "certificate"),
        ({"certificate": "wrong_name"}, "certificate"),
        ({"certificate": "expired"}, "expired"),
        ({"tls_maximum": "TLSv1_1"}, "TLS 1.2"),
    ],
)
def test_a_relay_that_cannot_prove_itself_gets_nothing(
    relay: Relay, mode: Mode, fault: dict[str, Any], said: str
) -> None:
    config, settings, phase = mode
    relay.configure(**settings, **fault)

    result = attempt(relay, MAIL_CA_FILE=str(relay.ca_file), **config, **LOGIN)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.OPERATOR, phase)
    assert said in result.reply.text
    assert told_nothing(relay)


def test_the_systems_authorities_are_asked_without_a_file_of_ones_own(relay: Relay, mode: Mode) -> None:
    config, settings, phase = mode
    relay.configure(**settings)

    result = attempt(relay, **config, **LOGIN)

    assert (result.blame, result.phase) == (Blame.OPERATOR, phase)
    assert told_nothing(relay)


def test_stripped_starttls_is_no_reason_to_speak_plainly(relay: Relay) -> None:
    relay.configure(tls="none", auth_in_plaintext=True)

    result = attempt(relay, MAIL_USE_TLS=True, MAIL_CA_FILE=str(relay.ca_file), **LOGIN)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.OPERATOR, Phase.STARTTLS)
    assert told_nothing(relay)


def test_a_port_without_tls_gets_nothing_and_the_operator_is_told(relay: Relay) -> None:
    relay.configure(tls="none", auth_in_plaintext=True)

    result = attempt(relay, MAIL_USE_SSL=True, MAIL_CA_FILE=str(relay.ca_file), **LOGIN)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.OPERATOR, Phase.CONNECT)
    assert "MAIL_USE_SSL" in result.reply.text
    assert told_nothing(relay)


@pytest.mark.parametrize(
    ("reply", "whose"), [("454 4.7.0 not now", Blame.RELAY), ("501 5.5.4 no", Blame.OPERATOR)], ids=["454", "501"]
)
def test_starttls_refused_sends_nothing(relay: Relay, reply: str, whose: Blame) -> None:
    relay.configure(tls="starttls", auth_in_plaintext=True)
    relay.script(Rule("starttls", actions.reply(reply)))

    result = attempt(relay, MAIL_USE_TLS=True, MAIL_CA_FILE=str(relay.ca_file), **LOGIN)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, whose, Phase.STARTTLS)
    assert told_nothing(relay)


def test_words_slipped_in_before_the_handshake_are_not_taken_for_the_relays(relay: Relay) -> None:
    relay.configure(tls="starttls")
    relay.script(Rule("starttls", actions.reply("220 2.0.0 go ahead", "250 2.1.0 and this from the middle")))

    result = attempt(relay, MAIL_USE_TLS=True, MAIL_CA_FILE=str(relay.ca_file), **LOGIN)

    assert (result.blame, result.phase) == (Blame.RELAY, Phase.STARTTLS)
    assert told_nothing(relay)


@pytest.mark.parametrize("fault", [actions.drop(), actions.hang(), actions.garbage("binary")])
def test_a_handshake_that_fails_of_itself_is_the_relays(relay: Relay, fault: Any) -> None:
    relay.configure(tls="implicit")
    relay.script(Rule("handshake", fault))

    result = attempt(relay, MAIL_TIMEOUT=0.4, MAIL_USE_SSL=True, MAIL_CA_FILE=str(relay.ca_file), **LOGIN)

    assert (result.outcome, result.phase) == (Outcome.RELEASED, Phase.CONNECT)
    # What is no TLS at all speaks of the port, and that is the operator's.
    assert result.blame is (Blame.OPERATOR if fault == actions.garbage("binary") else Blame.RELAY)
    assert told_nothing(relay)


def test_a_mended_certificate_is_seen_by_the_same_sender(relay: Relay) -> None:
    relay.configure(tls="starttls", certificate="expired")
    sender = Sender(mail_to(relay, MAIL_USE_TLS=True, MAIL_CA_FILE=str(relay.ca_file), **LOGIN))
    assert sender.probe().blame is Blame.OPERATOR

    relay.configure(certificate="good")

    assert sender.probe().outcome is Outcome.SENT
    assert sender.send(a_claim(), confirm=yes).outcome is Outcome.SENT
    sender.close()


def test_a_mended_ca_file_is_read_anew(relay: Relay, tmp_path: Path) -> None:
    relay.configure(tls="starttls")
    ca_file = tmp_path / "ca.pem"
    sender = Sender(mail_to(relay, MAIL_USE_TLS=True, MAIL_CA_FILE=str(ca_file), **LOGIN))
    missing = sender.probe()
    ca_file.write_text("no certificate\n")
    broken = sender.probe()

    ca_file.write_bytes(relay.ca_file.read_bytes())

    assert [each.blame for each in (missing, broken)] == [Blame.OPERATOR, Blame.OPERATOR]
    assert "MAIL_CA_FILE" in missing.reply.text
    assert "MAIL_CA_FILE" in broken.reply.text
    assert sender.probe().outcome is Outcome.SENT
    sender.close()


@pytest.mark.parametrize("mechanisms", [("PLAIN",), ("LOGIN",), ("CRAM-MD5", "LOGIN", "PLAIN"), ("XOAUTH2", "LOGIN")])
def test_the_login_uses_a_mechanism_that_both_know(relay: Relay, mechanisms: tuple[str, ...]) -> None:
    relay.configure(auth_in_plaintext=True, mechanisms=mechanisms)

    assert attempt(relay, **LOGIN).outcome is Outcome.SENT
    assert relay.messages()[0].user == "room"
    assert relay.violations() == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mechanisms": ("XOAUTH2", "GSSAPI")}, "XOAUTH2"),
        ({"users": {}}, "no AUTH at all"),
        ({"auth_in_plaintext": False}, "no AUTH at all"),
    ],
)
def test_a_login_that_is_impossible_sends_nothing(relay: Relay, settings: dict[str, Any], said: str) -> None:
    relay.configure(**{"auth_in_plaintext": True} | settings)

    result = attempt(relay, **LOGIN)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.OPERATOR, Phase.AUTH)
    assert said in result.reply.text
    assert told_nothing(relay)


def test_a_wrong_password_is_the_operators_and_tried_once(relay: Relay) -> None:
    relay.configure(auth_in_plaintext=True)

    result = attempt(relay, MAIL_USERNAME="room", MAIL_PASSWORD="wrong")

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.OPERATOR, Phase.AUTH)
    assert (result.reply.code, result.reply.enhanced_code) == (535, "5.7.8")
    assert [command.verb for command in relay.commands()].count("AUTH") == 1
    assert relay.messages() == []


@pytest.mark.parametrize("code", [534, 535, 530, 538])
def test_every_refusal_of_the_login_is_the_operators(relay: Relay, code: int) -> None:
    relay.configure(auth_in_plaintext=True)
    relay.script(Rule("auth", actions.reply(f"{code} 5.7.9 no")))

    result = attempt(relay, **LOGIN)

    assert (result.outcome, result.blame, result.reply.code) == (Outcome.RELEASED, Blame.OPERATOR, code)


def test_a_password_mended_at_the_relay_is_seen_by_the_same_sender(relay: Relay) -> None:
    relay.configure(auth_in_plaintext=True, users={"room": "other"})
    sender = Sender(mail_to(relay, **LOGIN))
    assert sender.send(a_claim(), confirm=yes).blame is Blame.OPERATOR

    relay.configure(users=USERS)

    assert sender.send(a_claim(), confirm=yes).outcome is Outcome.SENT
    sender.close()


def test_a_relay_that_wants_a_login_which_is_not_configured_is_the_operators(relay: Relay) -> None:
    result = attempt(relay)

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.OPERATOR, Phase.MAIL)
    assert result.reply.code == 530


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_only_this_machine_is_told_a_password_unencrypted(address: str, ours: bool) -> None:
    assert is_loopback(address) is ours


def test_cram_md5_answers_as_its_rfc_shows() -> None:
    challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"  # RFC 2195 section 2

    answer = response("CRAM-MD5", 0, challenge, "tim", "tanstaaftanstaaf")

    assert answer == "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"


def test_a_challenge_that_is_no_base64_gets_no_password() -> None:
    with pytest.raises(Broken):
        response("CRAM-MD5", 0, "not base64!", "room", "secret")
