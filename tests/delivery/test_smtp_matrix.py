"""Every fault in every phase, by a real relay: outcome, blame and phase as `matrix` has them."""

import pytest

from api.core.claim import Blame, Result
from api.delivery.sender import Sender
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import LARGE, a_claim, mail_to, yes
from tests.delivery.matrix import FAULTS, GARBAGE, MATRIX, Expected
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Action, Rule

TIMEOUT = 0.4


@pytest.fixture
def relay(relay: Relay) -> Relay:
    """A relay with STARTTLS that wants a login."""
    relay.configure(tls="starttls", users={"room": "secret"}, auth_required=True, size_limit=100_000_000)
    return relay


def attempt(relay: Relay, *rules: Rule, text: str = "Hello\n") -> Result:
    """Send one mail on a new connection over STARTTLS, logged in, while the rules hold; see that it keeps to SMTP."""
    relay.script(*rules)
    config = {"MAIL_USE_TLS": True, "MAIL_CA_FILE": str(relay.ca_file)}
    login = {"MAIL_USERNAME": "room", "MAIL_PASSWORD": "secret"}
    sender = Sender(mail_to(relay, MAIL_TIMEOUT=TIMEOUT, MAIL_DEADLINE=30, **config, **login))
    result = sender.send(a_claim(text=text), confirm=yes)
    sender.close()
    # Content that is under way when the relay refuses it early comes after the reply, and may.
    assert result.phase is Phase.BODY or relay.violations() == []
    return result


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("phase", MATRIX)
def test_each_fault_in_each_phase_is_told_as_what_it_is(relay: Relay, phase: Phase, fault: str) -> None:
    text = LARGE if phase is Phase.BODY else "Hello\n"

    result = attempt(relay, Rule(phase.value, FAULTS[fault]), text=text)

    assert Expected(result.outcome, result.blame, result.phase) == MATRIX[phase][fault]
    assert (result.reply.code is None) == (fault not in ("4xx", "5xx", "421"))
    assert result.reply.text
    assert result.outcome is Outcome.UNKNOWN or relay.messages() == []


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("phase", [Phase.BANNER, Phase.AUTH, Phase.RCPT, Phase.DATA, Phase.DOT])
def test_what_makes_no_sense_is_never_taken_for_an_answer(relay: Relay, phase: Phase, kind: str) -> None:
    result = attempt(relay, Rule(phase.value, GARBAGE[kind]))

    assert Expected(result.outcome, result.blame, result.phase) == MATRIX[phase]["garbage"]
    assert result.reply.code is None


@pytest.mark.parametrize("phase", [Phase.EHLO, Phase.AUTH, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT])
def test_a_reset_connection_is_a_lost_one(relay: Relay, phase: Phase) -> None:
    result = attempt(relay, Rule(phase.value, actions.reset()))

    assert Expected(result.outcome, result.blame, result.phase) == MATRIX[phase]["drop"]


@pytest.mark.parametrize("fault", [actions.drop(), actions.hang(), actions.garbage("text"), actions.garbage("binary")])
@pytest.mark.parametrize(("step", "phase"), [("connect", Phase.BANNER), ("handshake", Phase.STARTTLS)])
def test_what_goes_wrong_before_smtp_or_in_the_handshake_is_the_relays(
    relay: Relay, step: str, phase: Phase, fault: Action
) -> None:
    result = attempt(relay, Rule(step, fault))

    assert (result.outcome, result.blame, result.phase) == (Outcome.RELEASED, Blame.RELAY, phase)


@pytest.mark.parametrize("fault", [actions.drop(), actions.reset(), actions.hang()])
def test_a_message_that_was_taken_without_an_answer_is_unknown(relay: Relay, fault: Action) -> None:
    result = attempt(relay, Rule("after_dot", fault))

    assert (result.outcome, result.blame, result.phase) == (Outcome.UNKNOWN, Blame.MESSAGE, Phase.DOT)
    assert len(relay.messages()) == 1


@pytest.mark.parametrize("fault", [action for name, action in FAULTS.items() if name != "hang"])
def test_a_message_that_was_answered_is_sent_whatever_befalls_quit(relay: Relay, fault: Action) -> None:
    result = attempt(relay, Rule("quit", fault))

    assert (result.outcome, result.blame, result.phase) == (Outcome.SENT, Blame.NOBODY, Phase.DOT)
    assert len(relay.messages()) == 1


@pytest.mark.parametrize("code", ["251", "252", "250"])
def test_every_2xx_to_rcpt_is_an_acceptance(relay: Relay, code: str) -> None:
    result = attempt(relay, Rule("rcpt", actions.reply(f"{code} 2.1.5 taken")))

    assert result.outcome is Outcome.SENT
    assert len(relay.messages()) == 1
