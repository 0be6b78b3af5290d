"""Many dialogues in one thread: where one waits for the relay, another goes on.

A dialogue is written as if it had a thread of its own, and runs in a greenlet: `Channel` waits here instead of in the
kernel. Threads would take the interpreter from each other at every reply, which costs more than sending does.
"""

import logging
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_NEVER = float("inf")
#: Times that tasks go on before it is looked what else has happened, however many could.
_SPELL = 64


class Task(greenlet):
    """One dialogue after the other, in a loop."""

    def __init__(self, loop: "Loop", work: Callable[[], None]) -> None:
        super().__init__(lambda _: work())
        self.loop = loop
        #: When it goes on at the latest (monotonic seconds), and what it waits for on which descriptor.
        self.until = _NEVER
        self.descriptor: int | None = None


class Loop:
    """Runs tasks in one thread; only `wake` may be called by another.

    `deal` is called before each wait: the place to `give` tasks what they rest for.
    """

    def __init__(self, deal: Callable[[], None]) -> None:
        self._deal = deal
        self._poll = select.poll()
        #: Tasks by the descriptor that they wait for, and all that are suspended with a time to go on at.
        self._waiting: dict[int, Task] = {}
        self._timed: set[Task] = set()
        self._ready: deque[tuple[Task, Any]] = deque()
        #: What threads of their own have come to, and whose it is.
        self._returned: deque[tuple[Task, Any]] = deque()
        #: No task goes on because of its time before this.
        self._earliest = _NEVER
        self._asleep = False
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)
        self._poll.register(self._ear, select.POLLIN)

    def run(self, works: Iterable[Callable[[], None]]) -> None:
        """Run these until the last has ended. One that raises is logged, and ends alone."""
        tasks = [Task(self, work) for work in works]
        left = len(tasks)
        self._ready.extend((task, None) for task in tasks)
        try:
            while left:
                for _ in range(_SPELL):
                    if not self._ready:
                        break
                    left -= self._go_on(*self._ready.popleft())
                if left:
                    self._turn()
        finally:
            self._ear.close()
            self._mouth.close()

    def wake(self) -> None:
        """Have `deal` called soon; safe from any thread."""
        if self._asleep:
            self._asleep = False
            with suppress(OSError):  # full: it is awake; closed: nobody is there any more
                self._mouth.send(b"\0")

    def rest(self, task: Task, seconds: float) -> Any:
        """Let a task, the present one, wait for what it is given; None when nothing came in this time."""
        return self._suspend(task, monotonic() + seconds)

    def give(self, task: Task, thing: object) -> None:
        """Let a task go on, with this, whatever it waits for."""
        self._timed.discard(task)
        if task.descriptor is not None:
            self._poll.unregister(task.descriptor)
            del self._waiting[task.descriptor]
            task.descriptor = None
        self._ready.append((task, thing))

    def step_back(self, task: Task) -> None:
        """Let all who can go on do so before this task, the present one."""
        self._ready.append((task, None))
        assert task.parent is not None  # noqa: S101 -- the loop's own thread began it
        task.parent.switch()

    def wait(self, task: Task, descriptor: int, event: int, seconds: float) -> bool:
        """Let a task, the present one, wait for an event; tell whether it happened, errors counting for everything."""
        self._poll.register(descriptor, event)
        self._waiting[descriptor] = task
        task.descriptor = descriptor
        return bool(self._suspend(task, monotonic() + seconds))

    def away(self, task: Task, call: Callable[[], _Result]) -> _Result:
        """Let a task, the present one, wait for a call that is made in a thread; return or raise what that does."""

        def work() -> None:
            try:
                outcome: tuple[Any, BaseException | None] = (call(), None)
            except BaseException as error:  # noqa: BLE001 -- raised again where it was asked for
                outcome = (None, error)
            self._returned.append((task, outcome))
            self.wake()

        Thread(target=work, name="away", daemon=True).start()
        result, error = self._suspend(task, _NEVER)
        if error is not None:
            raise error
        return cast("_Result", result)

    def _suspend(self, task: Task, until: float) -> Any:
        task.until = until
        self._timed.add(task)
        self._earliest = min(self._earliest, until)
        assert task.parent is not None  # noqa: S101 -- the loop's own thread began it
        return task.parent.switch()

    def _go_on(self, task: Task, thing: object) -> bool:
        """Let a task go on until it waits again; tell whether it has ended."""
        try:
            task.switch(thing)
        except Exception:
            log.exception("a sender ended in an unforeseen way")
        return bool(task.dead)

    def _turn(self) -> None:
        """Wait for what comes first, and note who can go on."""
        self._asleep = True  # from here on whoever brings something also wakes
        self._deal()
        while self._returned:
            self.give(*self._returned.popleft())
        timeout = 0.0 if self._ready else max(0.0, self._earliest - monotonic())
        found = self._poll.poll(None if timeout == _NEVER else timeout * 1000)
        self._asleep = False
        for descriptor, _ in found:
            if descriptor in self._waiting:
                self.give(self._waiting[descriptor], True)
            else:
                with suppress(BlockingIOError):
                    self._ear.recv(4096)
        if monotonic() >= self._earliest:
            self._expire()

    def _expire(self) -> None:
        """Let those go on whose time has come, with nothing."""
        now = monotonic()
        for task in [task for task in self._timed if task.until <= now]:
            self.give(task, None)
        self._earliest = min((task.until for task in self._timed), default=_NEVER)


def current() -> Task | None:
    """Return the task that runs now; None outside of a loop, where everything may wait by itself."""
    task = getcurrent()
    return task if isinstance(task, Task) else None


def away(call: Callable[[], _Result]) -> _Result:
    """Call what may block; in a loop from a thread of its own, while others go on. Raises what it does."""
    task = current()
    return call() if task is None else task.loop.away(task, call)
