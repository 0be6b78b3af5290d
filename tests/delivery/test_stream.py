"""Many mails over one line: each is sent exactly once, and none is blamed for what befell another."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from api.core.claim import Address, Blame
from api.delivery.smtp import Mail, MailState
from api.delivery.stream import QUICK, SMALL
from schemas.vocabulary import Outcome, Phase
from tests.delivery.given import a_claim, verbs
from tests.delivery.pile import Pile, Streaming, see_all_sent_once, some
from tests.relay import actions
from tests.relay.process import Relay
from tests.relay.script import Rule

Post = Callable[..., Mail]


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
