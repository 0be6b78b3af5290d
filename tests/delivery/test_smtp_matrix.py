"""Every fault in every phase, by a real relay: outcome, blame and phase as `matrix` has them, in both dialogues."""

import pytest

from api.core.claim import Address, Blame, Result
from api.delivery.sender import Sender
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import LARGE, a_claim, mail_to, yes
from tests.delivery.matrix import FAULTS, GARBAGE, MATRIX, SMALL_BODY, Expected
from tests.delivery.pile import Pile, Streaming, copies
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Action, Rule

TIMEOUT = 0.4
GREETING = [phase for phase in MATRIX if phase.value in ("banner", "ehlo", "starttls", "auth")]
TRANSACTION = [phase for phase in MATRIX if phase not in GREETING]
FAULTY = "faulty@example.org"
#: Who is sent to on one connection before, and after, the mail that meets the fault.
PLACES = {
    "the first on its connection": ([], ["next@example.org"]),
    "between two others": (["previous@example.org"], ["next@example.org"]),
    "the last": (["previous@example.org"], []),
}


@pytest.fixture
def relay(relay: Relay) -> Relay:
    """A relay with STARTTLS that wants a login."""
    relay.configure(tls="starttls", users={"room": "secret"}, auth_required=True, size_limit=100_000_000)
    return relay


def terms(relay: Relay) -> dict[str, object]:
    return {
        "MAIL_TIMEOUT": TIMEOUT,
        "MAIL_DEADLINE": 30,
        "MAIL_USE_TLS": True,
        "MAIL_CA_FILE": str(relay.ca_file),
        "MAIL_USERNAME": "room",
        "MAIL_PASSWORD": "secret",
    }


def attempt(relay: Relay, *rules: Rule, text: str = "Hello\n") -> Result:
    """Send one mail on a new connection over STARTTLS, logged in, while the rules hold; see that it keeps to SMTP."""
    relay.script(*rules)
    sender = Sender(mail_to(relay, **terms(relay)))
    result = sender.send(a_claim(text=text), confirm=yes)
    sender.close()
    # Content that is under way when the relay refuses it early comes after the reply, and may.
    assert result.phase is Phase.BODY or relay.violations() == []
    return result


def told(result: Result) -> Expected:
    return Expected(result.outcome, result.blame, result.phase)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("phase", MATRIX)
def test_each_fault_in_each_phase_is_told_as_what_it_is(relay: Relay, phase: Phase, fault: str) -> None:
    text = LARGE if phase is Phase.BODY else "Hello\n"

    result = attempt(relay, Rule(phase.value, FAULTS[fault]), text=text)

    assert told(result) == MATRIX[phase][fault]
    assert (result.reply.code is None) == (fault not in ("4xx", "5xx", "421"))
    assert result.reply.text
    assert result.outcome is Outcome.UNKNOWN or relay.messages() == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_small_body_is_told_by_whether_the_dot_may_have_been_written(relay: Relay, fault: str) -> None:
    result = attempt(relay, Rule("body", FAULTS[fault]))

    assert told(result) in (MATRIX[Phase.BODY][fault], SMALL_BODY[fault])
    assert relay.messages() == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("phase", GREETING)
def test_before_mail_a_stream_blames_nobody_it_was_to_send(relay: Relay, phase: Phase, fault: str) -> None:
    relay.script(Rule(phase.value, FAULTS[fault]))
    claims = [a_claim("ann@example.org"), a_claim("bob@example.org")]

    with Streaming(mail_to(relay, **terms(relay))) as streaming:
        pile = streaming.send(*claims)
        [result] = pile.results.pop("ann@example.org")
        assert told(result) == MATRIX[phase][fault]
        assert pile.results == {}

        relay.script()
        streaming.send(claims[0], pile=pile)

    assert [copies(relay, claim) for claim in claims] == [0, 1]
    assert relay.violations() == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("phase", TRANSACTION)
def test_in_the_plain_dialogue_a_fault_is_told_of_the_mail_that_met_it_alone(
    relay: Relay, phase: Phase, fault: str
) -> None:
    relay.configure(tls="none", auth_required=False, pipelining=False)

    result, pile = among_others(relay, phase, fault, "between two others", large=phase is Phase.BODY)

    assert told(result) == MATRIX[phase][fault]
    assert pile.riders == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("phase", TRANSACTION)
@pytest.mark.parametrize("place", PLACES)
def test_in_the_pipelined_dialogue_a_fault_is_told_of_the_mail_that_met_it_alone(
    relay: Relay, place: str, phase: Phase, fault: str
) -> None:
    relay.configure(tls="none", auth_required=False)

    result, pile = among_others(relay, phase, fault, place)

    # Body and dot are one write: what befalls the body is told as what befalls the dot.
    assert told(result) == (SMALL_BODY if phase is Phase.BODY else MATRIX[phase])[fault]
    before, after = PLACES[place]
    assert not before or FAULTY in pile.riders
    assert not after or phase not in (Phase.BODY, Phase.DOT) or after[0] in pile.riders


@pytest.mark.parametrize("fault", FAULTS)
def test_in_the_pipelined_dialogue_a_large_body_is_watched_while_it_is_written(relay: Relay, fault: str) -> None:
    relay.configure(tls="none", auth_required=False)

    result, pile = among_others(relay, Phase.BODY, fault, "between two others", large=True)

    assert told(result) == MATRIX[Phase.BODY][fault]
    assert pile.riders == [FAULTY, "next@example.org"]


def among_others(relay: Relay, phase: Phase, fault: str, place: str, *, large: bool = False) -> tuple[Result, Pile]:
    """Send a mail that meets the fault in one stream with others, and return what was told of it.

    See that each of the others is sent exactly once, in the same stream or, when the relay was in trouble, later.
    """
    before, after = ([a_claim(recipient) for recipient in recipients] for recipients in PLACES[place])
    # The sender tells which mail it is in every phase; the recipient would not in MAIL.
    faulty = a_claim(FAULTY, sender=Address(FAULTY), text=LARGE if large else "Hello\n")
    relay.script(Rule(phase.value, FAULTS[fault], sender=FAULTY))
    with Streaming(mail_to(relay, MAIL_TIMEOUT=TIMEOUT, MAIL_DEADLINE=30)) as streaming:
        pile = streaming.send(*before, faulty, *after)
        relay.script()
        streaming.send(pile=pile)
    [result] = pile.results.pop(FAULTY)
    assert pile.outcomes() == {claim.recipient: [Outcome.SENT] for claim in before + after}
    assert [copies(relay, claim) for claim in before + after] == [1] * len(before + after)
    assert copies(relay, faulty) <= (result.outcome is Outcome.UNKNOWN)
    assert result.reply.text
    return result, pile


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("phase", [Phase.BANNER, Phase.AUTH, Phase.RCPT, Phase.DATA, Phase.DOT])
def test_what_makes_no_sense_is_never_taken_for_an_answer(relay: Relay, phase: Phase, kind: str) -> None:
    result = attempt(relay, Rule(phase.value, GARBAGE[kind]))

    assert told(result) == MATRIX[phase]["garbage"]
    assert result.reply.code is None


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT])
def test_what_makes_no_sense_is_never_taken_for_an_answer_to_a_group(relay: Relay, phase: Phase, kind: str) -> None:
    relay.configure(tls="none", auth_required=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAULTS, kind, GARBAGE[kind])
        result, _ = among_others(relay, phase, kind, "between two others")

    assert told(result) == MATRIX[phase]["garbage"]
    assert result.reply.code is None


@pytest.mark.parametrize("phase", [Phase.EHLO, Phase.AUTH, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT])
def test_a_reset_connection_is_a_lost_one(relay: Relay, phase: Phase) -> None:
    result = attempt(relay, Rule(phase.value, actions.reset()))

    assert told(result) == MATRIX[phase]["drop"]


@pytest.mark.parametrize("fault", [actions.drop(), actions.hang(), actions.garbage("text"), actions.garbage("binary")])
@pytest.mark.parametrize(("step", "phase"), [("connect", Phase.BANNER), ("handshake", Phase.STARTTLS)])
def test_what_goes_wrong_before_smtp_or_in_the_handshake_is_the_relays(
    relay: Relay, step: str, phase: Phase, fault: Action
) -> None:
    result = attempt(relay, Rule(step, fault))

    assert told(result) == Expected(Outcome.RELEASED, Blame.RELAY, phase)


@pytest.mark.parametrize("fault", [actions.drop(), actions.reset(), actions.hang()])
def test_a_message_that_was_taken_without_an_answer_is_unknown(relay: Relay, fault: Action) -> None:
    result = attempt(relay, Rule("after_dot", fault))

    assert told(result) == Expected(Outcome.UNKNOWN, Blame.MESSAGE, Phase.DOT)
    assert len(relay.messages()) == 1


@pytest.mark.parametrize("fault", [action for name, action in FAULTS.items() if name != "hang"])
def test_a_message_that_was_answered_is_sent_whatever_befalls_quit(relay: Relay, fault: Action) -> None:
    result = attempt(relay, Rule("quit", fault))

    assert told(result) == Expected(Outcome.SENT, Blame.NOBODY, Phase.DOT)
    assert len(relay.messages()) == 1


@pytest.mark.parametrize("code", ["251", "252", "250"])
def test_every_2xx_to_rcpt_is_an_acceptance(relay: Relay, code: str) -> None:
    result = attempt(relay, Rule("rcpt", actions.reply(f"{code} 2.1.5 taken")))

    assert result.outcome is Outcome.SENT
    assert len(relay.messages()) == 1
