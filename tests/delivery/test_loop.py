"""Many dialogues in one thread: who waits holds up nobody."""

import select
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from api.delivery.loop import Loop, Task, away, current

#: Seconds that come only where something is broken.
LONG = 30.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def task() -> Task:
    """Return the present task."""
    found = current()
    assert found is not None
    return found


def run(*works: Callable[[Loop], None]) -> None:
    """Run these in one loop, until all have ended."""
    loop = Loop(lambda: None)
    thread = threading.Thread(target=loop.run, args=([lambda work=work: work(loop) for work in works],), daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()


def test_while_one_waits_for_the_relay_another_goes_on(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    said: list[object] = []

    def listen(loop: Loop) -> None:
        said.append(loop.wait(task(), ours.fileno(), select.POLLIN, LONG))
        said.append(ours.recv(10))

    def speak(_: Loop) -> None:
        said.append("speaks")
        theirs.send(b"250")

    run(listen, speak)

    assert said == ["speaks", True, b"250"]


def test_a_wait_ends_when_its_time_is_over(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    said: list[object] = []

    def listen(loop: Loop) -> None:
        said.append(loop.wait(task(), ours.fileno(), select.POLLIN, 0.01))
        said.append(loop.rest(task(), 0.01))

    run(listen)

    assert said == [False, None]


def test_the_end_of_a_connection_ends_the_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    said: list[object] = []

    def listen(loop: Loop) -> None:
        said.append(loop.wait(task(), ours.fileno(), select.POLLIN, LONG))
        said.append(ours.recv(10))

    run(listen, lambda _: theirs.close())

    assert said == [True, b""]


def test_who_steps_back_goes_on_after_all_who_can() -> None:
    said: list[str] = []

    def polite(loop: Loop) -> None:
        said.append("comes")
        loop.step_back(task())
        said.append("goes on")

    run(polite, lambda _: said.append("second"), lambda _: said.append("third"))

    assert said == ["comes", "second", "third", "goes on"]


def test_who_steps_back_again_and_again_keeps_nobody_from_what_they_wait_for(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    said: list[object] = []

    def polite(loop: Loop) -> None:
        theirs.send(b"250")
        while len(said) < 3:
            loop.step_back(task())

    def listen(loop: Loop) -> None:
        said.append(loop.wait(task(), ours.fileno(), select.POLLIN, LONG))

    def rest(loop: Loop) -> None:
        said.append(loop.rest(task(), 0.01))

    def ask(_: Loop) -> None:
        said.append(away(lambda: "elsewhere"))

    run(listen, rest, ask, polite)

    assert sorted(map(str, said)) == ["None", "True", "elsewhere"]


def test_what_blocks_is_called_elsewhere_while_others_go_on() -> None:
    free = threading.Event()
    said: list[object] = []

    def ask(_: Loop) -> None:
        said.append(away(lambda: free.wait(LONG) and threading.current_thread()))

    def other(_: Loop) -> None:
        said.append("went on")
        free.set()

    run(ask, other)

    assert said[0] == "went on"
    assert said[1] is not threading.current_thread()
    assert isinstance(said[1], threading.Thread)


def test_an_error_of_a_call_elsewhere_is_raised_where_it_was_asked_for() -> None:
    said: list[object] = []

    def fail() -> None:
        raise OSError("no such host")

    def ask(_: Loop) -> None:
        with pytest.raises(OSError, match="no such host"):
            away(fail)
        said.append("caught")

    run(ask)

    assert said == ["caught"]


def test_outside_of_a_loop_a_call_is_made_where_it_stands() -> None:
    assert current() is None
    assert away(threading.current_thread) is threading.current_thread()


def test_who_raises_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    said: list[object] = []

    def fail(_: Loop) -> None:
        raise ValueError("odd")

    def other(loop: Loop) -> None:
        loop.rest(task(), 0.01)
        said.append("went on")

    run(fail, other)

    assert said == ["went on"]
    assert "unforeseen" in caplog.text


def test_another_thread_brings_what_a_task_rests_for() -> None:
    brought: list[str] = []
    resting: list[Task] = []
    said: list[object] = []

    def deal() -> None:
        if brought and resting:
            loop.give(resting.pop(), brought.pop())

    def work() -> None:
        resting.append(task())
        said.append(loop.rest(task(), LONG))

    def bring() -> None:
        brought.append("a claim")
        loop.wake()

    loop = Loop(deal)
    thread = threading.Thread(target=loop.run, args=([work],), daemon=True)
    thread.start()
    threading.Timer(0.05, bring).start()
    thread.join(LONG)

    assert said == ["a claim"]


def test_many_calls_elsewhere_all_come_back() -> None:
    said: set[int] = set()

    def ask(number: int) -> Callable[[Loop], None]:
        return lambda _: said.add(away(lambda: number))

    run(*[ask(number) for number in range(40)])

    assert said == set(range(40))
