"""Dispatchers that die at exact points, and what the next one makes of what they leave."""

import signal

import pytest

from schemas.vocabulary import DeliveryStatus
from tests.relay.actions import kill
from tests.relay.script import Action, Rule

#: Of a dead client's last words the relay takes what came in whole, or it has lost them, too.
DEAF = Action(kill="peer", drop=True)
#: Where the relay kills who talks to it, and the copies and the mark that the message under way gets by that.
PHASES = [
    pytest.param("connect", kill("peer"), 1, False, id="before the banner"),
    pytest.param("mail", kill("peer"), 1, False, id="at MAIL"),
    pytest.param("rcpt", kill("peer"), 1, False, id="at RCPT"),
    pytest.param("data", kill("peer"), 1, False, id="at DATA"),
    pytest.param("body", DEAF, 1, True, id="in the message"),
    pytest.param("dot", DEAF, 1, True, id="at the final dot, not accepted"),
    pytest.param("dot", kill("peer"), 2, True, id="at the final dot, accepted"),
    pytest.param("after_dot", kill("peer"), 2, True, id="after the final dot, accepted"),
]
#: Where the process kills itself, the messages claimed twice by that, and those that may have a second copy.
POINTS = [
    pytest.param("api.core.outbox:claim:after:1", set(), set(), id="before the claim's commit"),
    pytest.param("api.delivery.crew:Crew.take:before:1", {1, 2}, set(), id="after the claim's commit"),
    pytest.param("api.core.journal:Journal.write:before:1", {1, 2}, set(), id="before the first line of the journal"),
    pytest.param("api.core.journal:Journal.write:after:1", {1, 2}, {1}, id="after the first line of the journal"),
]
#: Where it dies with results that are known to the journal, the table, or nobody.
RESULTS = [
    pytest.param("api.core.journal:Journal.write:before:3", id="a result not in the journal yet"),
    pytest.param("api.core.settling:settle:before:1", id="before the settling"),
    pytest.param("api.core.settling:settle:after:1", id="before the settling's commit"),
    pytest.param("api.core.journal:Journal.forget:before:1", id="after the settling's commit"),
]


def all_sent(outcomes) -> bool:
    return all(one.status is DeliveryStatus.SENT for one in outcomes.values())


@pytest.mark.parametrize(("phase", "action", "copies", "marked"), PHASES)
def test_a_crash_costs_a_copy_only_after_the_final_dot(scene, relay, phase, action, copies, marked):
    scene = scene(3)
    relay.script(Rule(phase, action, times=1))

    assert scene.dispatch() == -signal.SIGKILL
    assert [one.found for one in relay.kills()] == [True]
    scene.recover()

    outcomes = scene.outcomes()
    assert all_sent(outcomes)
    assert [outcomes[number].copies for number in (1, 2, 3)] == [copies, 1, 1]
    assert [outcomes[number].possible_duplicate for number in (1, 2, 3)] == [marked, False, False]


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "plain"])
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(Rule("mail", kill("peer"), after=12, times=1), id="at MAIL"),
        pytest.param(Rule("after_dot", kill("peer"), after=12, times=1), id="after the final dot"),
        pytest.param(Rule("dot", kill("peer", after_reply=True), after=12, times=1), id="after the 250"),
    ],
)
def test_a_crash_in_full_swing_costs_a_marked_copy_for_each_connection_at_most(scene, relay, rule, pipelining):
    scene = scene(40, senders=4)
    relay.configure(pipelining=pipelining)
    relay.script(rule)

    assert scene.dispatch() == -signal.SIGKILL
    scene.recover()

    outcomes = scene.outcomes()
    assert all_sent(outcomes)
    twice = {number for number, one in outcomes.items() if one.copies == 2}
    assert sum(one.copies for one in outcomes.values()) == 40 + len(twice)
    assert len(twice) <= 4
    assert twice <= {number for number, one in outcomes.items() if one.possible_duplicate}
    # A line is let into DATA with one message at a time, so no more than that many can be in doubt.
    assert sum(one.possible_duplicate for one in outcomes.values()) <= 4


@pytest.mark.parametrize(("point", "again", "marked"), POINTS)
def test_a_crash_before_anything_was_sent_costs_no_copy(scene, relay, point, again, marked):
    scene = scene(5)

    assert scene.killed(point)
    assert relay.messages() == []
    scene.recover()

    outcomes = scene.outcomes()
    assert all_sent(outcomes)
    assert {one.copies for one in outcomes.values()} == {1}
    assert {number for number, one in outcomes.items() if one.attempts == 2} == again
    assert {number for number, one in outcomes.items() if one.possible_duplicate} == marked


@pytest.mark.parametrize("point", RESULTS)
def test_a_crash_over_a_result_costs_a_marked_copy_for_each_connection_at_most(scene, point):
    scene = scene(5)

    assert scene.killed(point)
    scene.recover()

    outcomes = scene.outcomes()
    assert all_sent(outcomes)
    assert sum(one.copies for one in outcomes.values()) <= 6
    marked = {number for number, one in outcomes.items() if one.possible_duplicate}
    assert {number for number, one in outcomes.items() if one.copies > 1} <= marked
    assert len(marked) <= 1
    assert scene.store.flaws() == []


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("api.core.dispatchers:bury:before:1", id="before"),
        pytest.param("api.core.dispatchers:bury:after:1", id="before the commit"),
        pytest.param("api.delivery.house:House.move_in:after:1", id="after"),
    ],
)
def test_a_crash_while_a_dead_dispatcher_is_buried_changes_nothing(scene, point):
    scene = scene(5)

    assert scene.killed("api.core.journal:Journal.write:after:1")
    assert scene.killed(point)
    scene.recover()

    outcomes = scene.outcomes()
    assert all_sent(outcomes)
    assert {one.copies for one in outcomes.values()} == {1}
    assert {number for number, one in outcomes.items() if one.possible_duplicate} == {1}
