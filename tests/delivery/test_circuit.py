"""The circuit of a relay, with times given by hand."""

from api.core.claim import Blame, Reply, Result
from api.delivery.circuit import SUSPECT, Circuit
from schemas.vocabulary import Outcome, Phase, TransportState
from tests.conftest import GREYLISTED, RELAY_DOWN, SENT

BAD_LOGIN = Result(Outcome.RELEASED, Blame.OPERATOR, Phase.AUTH, Reply(535, "5.7.8", "bad credentials"), 3)
DROPPED = Result(Outcome.DEFERRED, Blame.MESSAGE, Phase.RCPT, Reply(None, None, "connection lost"), 3)


def circuit() -> Circuit:
    return Circuit(senders=4, first=5.0, longest=300.0, rand=lambda: 0.0)


def test_a_relay_that_answers_stays_up():
    relay = circuit()

    relay.attempted(SENT, now=0.0)
    relay.attempted(GREYLISTED, now=1.0)

    assert relay.is_up()
    assert relay.allowed() == 4


def test_the_relays_fault_pauses_it_until_a_probe_is_due():
    relay = circuit()

    relay.attempted(RELAY_DOWN, now=100.0)

    assert relay.view().state is TransportState.PAUSED
    assert relay.allowed() == 0
    assert not relay.probe_due(104.9)
    assert relay.probe_due(105.0)
    assert not relay.probe_due(105.1)  # one probe at a time


def test_the_operators_fault_stops_it_and_says_so():
    relay = circuit()

    relay.attempted(BAD_LOGIN, now=0.0)

    assert relay.view().state is TransportState.STOPPED
    assert relay.view().error == BAD_LOGIN


def test_pauses_grow_to_the_longest_while_nothing_gets_through():
    relay = circuit()
    now, pauses = 0.0, []
    relay.attempted(RELAY_DOWN, now=now)
    for _ in range(9):
        at = relay.view().probe_at
        assert at is not None
        pauses.append(at - now)
        now = at
        assert relay.probe_due(now)
        relay.probed(RELAY_DOWN, now=now)

    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_many_failures_at_once_are_one_pause():
    relay = circuit()

    for _ in range(4):
        relay.attempted(RELAY_DOWN, now=0.0)

    assert relay.view().probe_at == 5.0


def test_a_relay_that_comes_back_is_not_met_by_everybody_at_once():
    relay = circuit()
    relay.attempted(RELAY_DOWN, now=0.0)
    assert relay.probe_due(5.0)

    relay.probed(SENT, now=5.0)
    allowed = [relay.allowed()]
    for second in range(3):
        relay.attempted(SENT, now=6.0 + second)
        allowed.append(relay.allowed())

    assert allowed == [1, 2, 4, 4]


def test_lost_dialogues_in_a_row_are_the_relays_fault():
    relay = circuit()

    for _ in range(SUSPECT - 1):
        relay.attempted(DROPPED, now=0.0)
    assert relay.is_up()
    relay.attempted(DROPPED, now=0.0)

    assert relay.view().state is TransportState.PAUSED


def test_one_message_that_loses_its_dialogue_among_others_pauses_nothing():
    relay = circuit()

    for _ in range(10):
        relay.attempted(DROPPED, now=0.0)
        relay.attempted(SENT, now=0.0)

    assert relay.is_up()


def test_a_state_left_by_an_earlier_dispatcher_is_probed_at_once():
    relay = circuit()

    relay.resume(TransportState.STOPPED, now=50.0)

    assert relay.allowed() == 0
    assert relay.probe_due(50.0)
    relay.probed(SENT, now=50.1)
    assert relay.is_up()
