"""Many mails over one line: each is sent exactly once, and none is blamed for what befell another."""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.core.claim import Address, Blame, Claim
from api.delivery.line import MISUNDERSTOOD
from api.delivery.smtp import Mail, MailState
from api.delivery.stream import PATIENCE, QUICK, SMALL
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import a_claim, mail_to, verbs
from tests.delivery.parrot import Guest, Parrot
from tests.delivery.pile import Pile, Streaming, copies
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Action, Rule

Post = Callable[..., Mail]
MODES = {"pipelined": True, "plain": False}


@pytest.fixture(params=list(MODES))
def pipelining(request: pytest.FixtureRequest, relay: Relay) -> bool:
    """Whether the relay offers PIPELINING."""
    offered = MODES[request.param]
    relay.configure(pipelining=offered)
    return offered


def some(count: int, **content: Any) -> list[Claim]:
    """Claims on mails to so many recipients, each with text of its own."""
    return [a_claim(f"user{n}@example.org", **{"text": f"This is number {n}.\n"} | content) for n in range(count)]


def see_all_sent_once(relay: Relay, pile: Pile, claims: list[Claim]) -> None:
    assert pile.outcomes() == {claim.recipient: [Outcome.SENT] for claim in claims}
    assert [copies(relay, claim) for claim in claims] == [1] * len(claims)
    assert relay.violations() == []


def test_a_stream_sends_everything_over_one_connection(relay: Relay, post: Post, pipelining: bool) -> None:
    claims = some(20)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    see_all_sent_once(relay, pile, claims)
    relay.wait_until_idle()
    assert verbs(relay) == ["EHLO", *(["MAIL", "RCPT", "DATA"] * 20), "QUIT"]
    assert len(relay.connections()) == 1


def test_each_mail_gets_the_answer_to_its_own_dot(relay: Relay, post: Post, pipelining: bool) -> None:
    relay.script(
        *(Rule("dot", actions.reply(f"250 2.0.0 taken number {n}"), recipient=f"user{n}@*") for n in range(0, 20, 3)),
        *(Rule("dot", actions.reply(f"451 4.0.0 later number {n}"), recipient=f"user{n}@*") for n in range(1, 20, 3)),
        *(Rule("rcpt", actions.reply(f"550 5.1.1 never number {n}"), recipient=f"user{n}@*") for n in range(2, 20, 3)),
    )

    with Streaming(post()) as streaming:
        pile = streaming.send(*some(20))

    words = {0: "taken", 1: "later", 2: "never"}
    told = {recipient: [result.reply.text for result in results] for recipient, results in pile.results.items()}
    assert told == {f"user{n}@example.org": [f"{words[n % 3]} number {n}"] for n in range(20)}
    assert len(relay.messages()) == 7
    assert relay.violations() == []


def test_the_next_envelope_rides_with_the_body_only_where_pipelining_is_offered(
    relay: Relay, post: Post, pipelining: bool
) -> None:
    claims = some(5)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    assert pile.riders == ([claim.recipient for claim in claims[1:]] if pipelining else [])


def test_every_claim_is_let_in_after_its_recipient_was_accepted_and_before_its_body(
    relay: Relay, post: Post, pipelining: bool
) -> None:
    relay.script(Rule("rcpt", actions.reply("550 5.1.1 no"), recipient="user1@*"))

    with Streaming(post()) as streaming:
        pile = streaming.send(*some(4))

    assert pile.entered == ["user0@example.org", "user2@example.org", "user3@example.org"]


@pytest.mark.parametrize(
    "lost", [{"user0@example.org"}, {"user1@example.org"}, {"user1@example.org", "user2@example.org"}]
)
def test_of_a_claim_that_is_lost_before_data_no_body_is_sent(
    relay: Relay, post: Post, pipelining: bool, lost: set[str]
) -> None:
    claims = some(4)

    with Streaming(post()) as streaming:
        pile = streaming.send(pile=Pile(claims, lost=lost))

    see_all_sent_once(relay, pile, [claim for claim in claims if claim.recipient not in lost])
    assert {message.recipients[0] for message in relay.messages()}.isdisjoint(lost)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_cannot_be_put_on_the_wire_is_told_and_the_others_sent(
    relay: Relay, post: Post, pipelining: bool, at: int
) -> None:
    claims = some(3)
    bad = a_claim("bad@example.org", subject="one\r\nBcc: evil@example.org")
    claims.insert(at, bad)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    [result] = pile.results.pop("bad@example.org")
    claims.remove(bad)
    assert (result.outcome, result.blame, result.phase) == (Outcome.FAILED, Blame.MESSAGE, Phase.MESSAGE)
    see_all_sent_once(relay, pile, claims)
    assert len(relay.connections()) == 1


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_what_is_larger_than_the_relay_takes_is_told_and_the_others_sent(
    relay: Relay, post: Post, pipelining: bool, at: int
) -> None:
    relay.configure(size_limit=5000)
    claims = some(3)
    large = a_claim("large@example.org", text="x" * 6000)
    claims.insert(at, large)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    [result] = pile.results.pop("large@example.org")
    claims.remove(large)
    assert (result.outcome, result.blame, result.reply.code) == (Outcome.FAILED, Blame.MESSAGE, 552)
    see_all_sent_once(relay, pile, claims)
    assert not any("large@" in command.line for command in relay.commands())


def test_small_and_large_bodies_arrive_whole_side_by_side(relay: Relay, post: Post, pipelining: bool) -> None:
    sizes = [10, SMALL - 300, SMALL, 2 * SMALL, 10, 30 * SMALL]
    claims = [a_claim(f"user{n}@example.org", text="0123456789\n" * (size // 11)) for n, size in enumerate(sizes)]

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    see_all_sent_once(relay, pile, claims)
    assert [message.raw.count(b"0123456789\r\n") for message in relay.messages()] == [size // 11 for size in sizes]


@pytest.mark.parametrize("phase", ["mail", "rcpt"])
def test_a_refused_envelope_is_taken_back_and_the_connection_kept(
    relay: Relay, post: Post, pipelining: bool, phase: str
) -> None:
    claims = some(4)
    claims[1] = a_claim("user1@example.org", sender=Address("bad@example.org"))
    relay.script(Rule(phase, actions.reply("550 5.7.1 no"), sender="bad@*"))

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    [result] = pile.results.pop("user1@example.org")
    assert (result.outcome, result.phase.value, result.reply.code) == (Outcome.FAILED, phase, 550)
    see_all_sent_once(relay, pile, [claims[0], *claims[2:]])
    assert verbs(relay).count("RSET") == 1
    assert len(relay.connections()) == 1


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


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_connection_carries_no_more_mails_than_it_may(relay: Relay, post: Post, pipelining: bool, limit: int) -> None:
    claims = some(8)

    with Streaming(post(MAIL_MAX_EMAILS=limit)) as streaming:
        pile = streaming.send(*claims)

    see_all_sent_once(relay, pile, claims)
    assert [message.connection for message in relay.messages()] == [1 + n // limit for n in range(8)]
    relay.wait_until_idle()
    for number in range(1, 1 + (7 // limit)):
        assert verbs(relay, number) == ["EHLO", *(["MAIL", "RCPT", "DATA"] * limit), "QUIT"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_relay_that_leaves_after_so_many_mails_is_not_blamed_and_neither_is_the_next(
    relay: Relay, post: Post, pipelining: bool, limit: int
) -> None:
    relay.configure(messages_per_connection=limit)
    claims = some(8)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    see_all_sent_once(relay, pile, claims)
    assert [message.connection for message in relay.messages()] == [1 + n // limit for n in range(8)]


def test_a_relay_that_hangs_up_after_each_mail_without_a_word_gets_them_all(
    relay: Relay, post: Post, pipelining: bool
) -> None:
    relay.script(Rule("after_dot", actions.drop(after_reply=True)))
    claims = some(6)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    see_all_sent_once(relay, pile, claims)


def test_a_kept_connection_that_the_relay_has_left_is_replaced(relay: Relay, post: Post, pipelining: bool) -> None:
    first, second = some(2)
    with Streaming(post()) as streaming:
        pile = streaming.send(first)
        relay.disconnect("421 4.4.2 idle for too long")
        relay.wait_until_idle()
        pile.todo.append(second)
        streaming.send(pile=pile)

    see_all_sent_once(relay, pile, [first, second])
    assert [message.connection for message in relay.messages()] == [1, 2]


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


def test_a_dripping_answer_is_no_answer_to_wait_behind(relay: Relay, post: Post) -> None:
    relay.script(Rule("dot", actions.drip("250 2.0.0 taken", interval=0.11), recipient="user0@*"))
    claims = some(2)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    assert pile.returned == ["user1@example.org"]
    see_all_sent_once(relay, pile, claims)


def test_a_relay_that_takes_its_time_with_each_dot_gets_no_envelope_ahead(relay: Relay, post: Post) -> None:
    relay.script(Rule("dot", actions.delay(QUICK + 0.1)))
    claims = some(3)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

    assert pile.riders == ["user1@example.org"]  # it was not known to be slow yet
    see_all_sent_once(relay, pile, claims)


def test_a_stream_over_starttls_and_login_sends_everything_encrypted(
    relay: Relay, post: Post, pipelining: bool
) -> None:
    relay.configure(tls="starttls", users={"room": "secret"}, auth_required=True)
    claims = some(20)
    login = {"MAIL_USERNAME": "room", "MAIL_PASSWORD": "secret"}

    with Streaming(post(MAIL_USE_TLS=True, MAIL_CA_FILE=str(relay.ca_file), **login)) as streaming:
        pile = streaming.send(*claims)

    see_all_sent_once(relay, pile, claims)
    assert {(message.connection, message.tls, message.user) for message in relay.messages()} == {(1, True, "room")}
    assert len(pile.riders) == (19 if pipelining else 0)


def test_replies_may_come_a_byte_at_a_time(relay: Relay, post: Post, pipelining: bool) -> None:
    relay.script(*(Rule(phase, actions.drip(interval=0.0005)) for phase in ("mail", "rcpt", "data", "dot")))
    claims = some(3)

    with Streaming(post()) as streaming:
        pile = streaming.send(*claims)

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


def test_an_abort_ends_a_stream_with_the_truth_about_the_mail_under_way(relay: Relay, post: Post) -> None:
    relay.script(Rule("dot", actions.hang(), recipient="user1@*"))
    claims = some(4)
    pile = Pile(claims)
    with Streaming(post(MAIL_TIMEOUT=60)) as streaming:
        thread = threading.Thread(target=streaming.send, kwargs={"pile": pile})
        thread.start()
        relay.wait_for(1)
        deadline = time.monotonic() + 10
        while pile.entered != ["user0@example.org", "user1@example.org"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        streaming.line.abort()
        thread.join(10)
        assert not thread.is_alive()

    [result] = pile.results["user1@example.org"]
    assert (result.outcome, result.phase) == (Outcome.UNKNOWN, Phase.DOT)
    assert result.reply.text == "stopped by this process"
    others = {recipient: outcomes for recipient, outcomes in pile.outcomes().items() if recipient > "user2"}
    assert set(map(tuple, others.values())) <= {(Outcome.RELEASED,)}
    assert len(relay.messages()) == 1


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


def test_a_connection_that_was_unused_for_long_is_not_used_again(relay: Relay, post: Post, pipelining: bool) -> None:
    mail = post()
    assert isinstance(mail.state, MailState)
    mail.state.relay = replace(mail.state.relay, idle=0.0)
    claims = some(3)

    with Streaming(mail) as streaming:
        for claim in claims:
            assert streaming.send(claim).outcomes() == {claim.recipient: [Outcome.SENT]}

    assert [message.connection for message in relay.messages()] == [1, 2, 3]
    assert relay.violations() == []
