"""Many mails over one line to a relay that misbehaves: none is lost, sent twice, or blamed for another."""

import itertools
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.core.claim import Address, Blame, Claim
from api.delivery import stream
from api.delivery.line import MISUNDERSTOOD
from api.delivery.smtp import Mail
from api.delivery.stream import PATIENCE
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import a_claim, mail_to, verbs
from tests.delivery.parrot import Guest, Parrot
from tests.delivery.pile import Pile, Streaming, see_all_sent_once, some
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Action, Rule

Post = Callable[..., Mail]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    "after", [actions.close_after("550 5.1.1 no such user"), actions.reply("550 5.1.1 no such user")]
)
@pytest.mark.parametrize("at", [0, 1])
def test_a_refusal_stands_whatever_comes_behind_it(
    relay: Relay, post: Post, pipelining: bool, at: int, after: Action
) -> None:
    claims = some(3)
    relay.script(Rule("rcpt", after, recipient=claims[at].recipient), Rule("rset", actions.hang()))

    with Streaming(post(MAIL_TIMEOUT=0.4)) as streaming:
        pile = streaming.send(*claims)

    [result] = pile.results.pop(claims.pop(at).recipient)
    assert (result.outcome, result.blame, result.phase) == (Outcome.FAILED, Blame.RECIPIENT, Phase.RCPT)
    assert result.reply.text == "no such user"
    see_all_sent_once(relay, pile, claims)


def test_a_relay_that_wants_the_message_of_a_refused_recipient_does_not_get_it() -> None:
    claims = some(3)
    words = {"RCPT": "550 5.1.1 no such user"}

    with Parrot(words) as parrot, Streaming(mail_to(parrot)) as streaming:
        pile = streaming.send(*claims)

    assert pile.outcomes() == {claim.recipient: [Outcome.FAILED] for claim in claims}
    assert {result.phase for results in pile.results.values() for result in results} == {Phase.RCPT}
    assert parrot.heard == [["EHLO", "MAIL", "RCPT", "DATA"]] * 3
    assert parrot.taken == []


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("closing", [True, False])
def test_a_421_gives_back_what_was_not_begun_and_ends_the_stream(
    relay: Relay, post: Post, pipelining: bool, phase: str, closing: bool
) -> None:
    claims = some(4)
    claims[1] = a_claim("user1@example.org", sender=Address("bad@example.org"))
    words = "421 4.3.2 closing"
    relay.script(Rule(phase, actions.close_after(words) if closing else actions.reply(words), sender="bad@*"))

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    [result] = pile.results.pop("user1@example.org")
    assert (result.outcome, result.blame, result.phase.value) == (Outcome.RELEASED, Blame.RELAY, phase)
    see_all_sent_once(relay, pile, claims[:1])
    assert sorted(claim.recipient for claim in pile.todo) == ["user2@example.org", "user3@example.org"]


def test_a_relay_that_cannot_be_reached_ends_the_stream(relay: Relay, post: Post) -> None:
    relay.refuse()
    claims = some(3)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    assert pile.outcomes() == {"user0@example.org": [Outcome.RELEASED]}
    assert list(pile.todo) == claims[1:]


def test_behind_a_hung_dot_the_next_mail_does_not_wait_and_is_sent_once(relay: Relay, post: Post) -> None:
    relay.script(Rule("dot", actions.hang(), recipient="user0@*"))
    claims = some(2)
    pile = Pile(claims)
    seen: list[bool] = []
    give_back = pile.give_back

    def note(claim: Claim) -> None:
        seen.append(pile.results == {})
        give_back(claim)

    pile.give_back = note  # type: ignore[method-assign]
    with Streaming(post(MAIL_TIMEOUT=PATIENCE + 1)) as streaming:
        streaming.send(pile=pile)

    assert seen == [True]  # long before the hung one is over
    [result] = pile.results.pop("user0@example.org")
    assert (result.outcome, result.blame, result.phase) == (Outcome.UNKNOWN, Blame.MESSAGE, Phase.DOT)
    see_all_sent_once(relay, pile, claims[1:])
    assert [message.connection for message in relay.messages()] == [2]


def test_behind_a_slow_dot_the_next_mail_does_not_wait_and_both_are_sent_once(relay: Relay, post: Post) -> None:
    relay.script(Rule("dot", actions.delay(PATIENCE + 0.3), recipient="user0@*"))
    claims = some(3)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    assert pile.returned == ["user1@example.org"]
    see_all_sent_once(relay, pile, claims)
    # The envelope that had ridden along is left behind with its connection, and no message came of it.
    assert verbs(relay, 1) == ["EHLO", *(["MAIL", "RCPT", "DATA"] * 2)]
    assert [message.recipients for message in relay.messages() if message.connection == 1] == [("user0@example.org",)]


def test_what_was_made_ready_meanwhile_does_not_wait_behind_a_slow_dot_either(
    relay: Relay, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "AT_ONCE", 60.0)  # however slow this machine is
    relay.script(Rule("dot", actions.delay(PATIENCE + 0.3), recipient="user1@*"))
    claims = some(5)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    assert pile.returned == ["user2@example.org", "user3@example.org"]
    see_all_sent_once(relay, pile, claims)


def test_a_dripping_answer_is_no_answer_to_wait_behind(relay: Relay, post: Post) -> None:
    relay.script(Rule("dot", actions.drip("250 2.0.0 taken", interval=0.11), recipient="user0@*"))
    claims = some(2)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    assert pile.returned == ["user1@example.org"]
    see_all_sent_once(relay, pile, claims)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=8), lines=st.integers(1, 3))
def test_replies_may_be_cut_and_joined_in_any_way(cuts: list[int], lines: int) -> None:
    claims = some(4)
    words = {"dot": "\r\n".join([*["250-2.0.0 taken"] * (lines - 1), "250 2.0.0 taken"])}
    held = bytearray()

    def say(guest: Guest, data: bytes) -> None:
        held.extend(data)
        if data.startswith(b"250 2.1"):
            return  # the answers to MAIL and RCPT wait for that to DATA
        for size in itertools.cycle(cuts):
            if not held:
                break
            guest.say(bytes(held[:size]))
            del held[:size]

    with Parrot(words, say=say) as parrot, Streaming(mail_to(parrot)) as streaming:
        pile = streaming.send(*claims)

    assert pile.outcomes() == {claim.recipient: [Outcome.SENT] for claim in claims}
    assert [recipient for recipient, _ in parrot.taken] == [claim.recipient for claim in claims]


def lose_the_rest(*after: str) -> Callable[[Guest, str], None]:
    """A relay that offers PIPELINING and loses what came behind these commands."""

    def said(guest: Guest, verb: str) -> None:
        if verb in after:
            guest.forget()

    return said


@pytest.mark.parametrize("after", [("MAIL", "RCPT", "dot"), ("RCPT",), ("dot",)])
def test_a_relay_that_offers_pipelining_and_cannot_do_it_gets_each_mail_once(after: tuple[str, ...]) -> None:
    claims = some(8)

    with Parrot(said=lose_the_rest(*after)) as parrot, Streaming(mail_to(parrot, MAIL_TIMEOUT=0.3)) as streaming:
        pile = streaming.send(*claims)

    assert pile.outcomes() == {claim.recipient: [Outcome.SENT] for claim in claims}
    assert sorted(recipient for recipient, _ in parrot.taken) == [claim.recipient for claim in claims]
    # After so many tries it is spoken to one command at a time.
    assert len(parrot.heard) <= 1 + MISUNDERSTOOD


def test_a_relay_that_calls_a_group_a_bad_sequence_is_asked_one_by_one() -> None:
    claims = some(4)

    def say(guest: Guest, data: bytes) -> None:
        # What comes behind RCPT at once is refused, as by a relay that forbids what it offers.
        guest.say(
            b"503 5.5.0 improper use of pipelining\r\n" if guest.hurries() and data.startswith(b"250 2.1.5") else data
        )

    with Parrot(say=say) as parrot, Streaming(mail_to(parrot, MAIL_TIMEOUT=0.3)) as streaming:
        pile = streaming.send(*claims)

    assert pile.outcomes() == {claim.recipient: [Outcome.SENT] for claim in claims}
    assert [recipient for recipient, _ in parrot.taken] == [claim.recipient for claim in claims]


def test_an_answer_too_many_is_never_taken_for_one_to_the_next_mail() -> None:
    claims = some(5)
    words = {"dot": "250 2.0.0 taken\r\n250 2.0.0 taken indeed"}

    with Parrot(words) as parrot, Streaming(mail_to(parrot, MAIL_TIMEOUT=0.5)) as streaming:
        pile = streaming.send(*claims)

    assert pile.outcomes() == {claim.recipient: [Outcome.SENT] for claim in claims}
    assert [recipient for recipient, _ in parrot.taken] == [claim.recipient for claim in claims]


def test_the_deadline_holds_for_all_tries_of_a_mail_together(relay: Relay, post: Post) -> None:
    relay.script(Rule("rcpt", actions.hang()))

    with Streaming(post(MAIL_TIMEOUT=1, MAIL_DEADLINE=1)) as streaming:
        pile = streaming.send(*some(1))

    [result] = pile.results["user0@example.org"]
    assert (result.outcome, result.blame, result.phase) == (Outcome.DEFERRED, Blame.MESSAGE, Phase.RCPT)
    assert result.reply.text == "the transaction was not over after 1 s"
    assert len(relay.connections()) == 1


@pytest.mark.parametrize("phase", [Phase.BANNER, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT])
def test_an_abort_counts_against_no_mail_and_tells_the_truth_of_one_that_may_be_through(
    relay: Relay, post: Post, pipelining: bool, phase: Phase
) -> None:
    relay.script(Rule(phase.value, actions.hang()))
    claims = some(3)
    pile = Pile(claims)
    with Streaming(post(MAIL_TIMEOUT=60)) as streaming:
        thread = threading.Thread(target=streaming.send, kwargs={"pile": pile})
        thread.start()
        wait_until(lambda: relay.faults() == [phase.value])
        streaming.line.abort()
        thread.join(10)
        assert not thread.is_alive()

    [[result]] = pile.results.values()
    assert result.reply.text == "stopped by this process"
    if phase is Phase.DOT:
        assert (result.outcome, result.blame) == (Outcome.UNKNOWN, Blame.MESSAGE)
    else:
        assert (result.outcome, result.blame) == (Outcome.RELEASED, Blame.NOBODY)
    assert {claim.recipient for claim in pile.todo} == {claim.recipient for claim in claims} - pile.results.keys()
    assert relay.messages() == []


def test_after_an_unforeseen_error_nothing_half_said_is_gone_on_with(
    relay: Relay, post: Post, pipelining: bool
) -> None:
    class Broken(Pile):
        def enter(self, claim: Claim) -> bool:
            raise LookupError

    claims = some(2)
    with Streaming(post()) as streaming:
        with pytest.raises(LookupError):
            streaming.send(pile=Broken(claims))
        relay.wait_until_idle()
        pile = streaming.send(*claims)

    see_all_sent_once(relay, pile, claims)
    assert "QUIT" not in verbs(relay, 1)
