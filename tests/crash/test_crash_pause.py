"""Dispatchers that stop in their tracks, are taken for dead, and wake up; and the dead, found late or by several."""

import os
import signal
import time

from schemas.vocabulary import DeliveryStatus
from tests.crash.scene import is_stopped
from tests.relay.actions import hang
from tests.relay.script import Rule

#: Taken for dead after a second instead of thirty.
IMPATIENT = ("--set", "api.core.dispatchers:DEAD_AFTER=1", "--set", "api.core.dispatchers:BEAT_SECONDS=0.2")


def freeze(scene, process) -> None:
    """Stop a process between two transactions: inside of one it would rightly keep all others waiting."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        scene.until(lambda: is_stopped(process.pid))
        if scene.store.is_at_rest():
            return
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.01)


def test_a_dispatcher_that_was_stopped_sends_nothing_more_of_what_others_took_over(scene, relay):
    relay.script(Rule("after_dot", hang(), times=2))
    scene = scene(40, senders=2)
    sleeper = scene.start("dispatch", options=IMPATIENT)
    scene.until(lambda: len(relay.messages()) == 2)
    freeze(scene, sleeper)
    held = scene.store.held()
    assert held > 2

    other = scene.start("dispatch", options=IMPATIENT)
    scene.until(lambda: scene.store.unfinished() == 0)
    os.kill(sleeper.pid, signal.SIGCONT)
    scene.until(lambda: sleeper.pid in scene.store.dispatching())
    relay.disconnect()  # its two dialogues end, and it turns to what else it held
    assert sleeper.stop() == 0
    assert other.stop() == 0

    outcomes = scene.outcomes()
    assert all(one.status is DeliveryStatus.SENT for one in outcomes.values())
    twice = {number for number, one in outcomes.items() if one.copies == 2}
    assert sum(one.copies for one in outcomes.values()) == 40 + len(twice) == 42
    # What it had let into DATA before it was stopped, nobody else can know.
    marked = {number for number, one in outcomes.items() if one.possible_duplicate}
    assert twice < marked
    assert len(marked) == held
    assert scene.store.flaws() == []


def test_a_dispatcher_that_was_stopped_goes_on_with_new_mail(scene, relay):
    scene = scene(0)
    sleeper = scene.start("dispatch", options=IMPATIENT)
    scene.until(lambda: sleeper.pid in scene.store.dispatching())
    freeze(scene, sleeper)
    other = scene.start("dispatch", options=IMPATIENT)
    scene.until(lambda: scene.store.dispatching() == {other.pid})
    other.kill()

    os.kill(sleeper.pid, signal.SIGCONT)
    scene.accept(5)

    scene.until(lambda: scene.store.unfinished() == 0)
    assert {(one.copies, one.possible_duplicate) for one in scene.outcomes().values()} == {(1, False)}


def test_what_was_being_sent_is_taken_over_at_once_where_the_process_is_gone(scene, relay):
    relay.script(Rule("data", hang(), times=2))
    scene = scene(10, senders=2)
    first = scene.start("dispatch")
    scene.until(lambda: len(relay.faults()) == 2)
    first.kill()
    assert scene.store.held() > 2

    # This one ends when nothing is due: what had to wait for the lease's end, or for silence, would be left.
    assert scene.dispatch("--set", "api.core.dispatchers:DEAD_AFTER=3600") == 0

    assert {(one.status, one.copies) for one in scene.outcomes().values()} == {(DeliveryStatus.SENT, 1)}


def test_the_dead_are_buried_by_who_has_their_journal_however_long_that_takes(scene, relay):
    scene = scene(40)
    assert scene.killed("api.core.settling:settle:before:3")
    known = len(relay.messages())
    scene.mark.unlink()
    time.sleep(1.1)  # from here on the dead one counts as silent, too
    digger = scene.start("dispatch", options=[*IMPATIENT, "--stop", "api.core.journal:read:after:1"])
    scene.until(lambda: is_stopped(digger.pid))

    assert scene.dispatch(*IMPATIENT) == 0
    assert scene.store.held() > 0

    os.kill(digger.pid, signal.SIGCONT)
    scene.until(lambda: scene.store.unfinished() == 0)
    outcomes = scene.outcomes()
    marked = [one for one in outcomes.values() if one.possible_duplicate]
    assert known > 1
    assert len(marked) <= 1
    assert sum(one.copies for one in outcomes.values()) <= 40 + len(marked)
