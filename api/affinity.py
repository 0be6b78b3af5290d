"""One processor for a process whose threads take turns anyway.

Python runs one thread at a time. Where the kernel spreads the threads over several processors, nearly every turn wakes
a sleeping one and finds its caches cold, which can cost more than the work itself. So a process keeps to one processor,
the one that others use least, and looks now and then whether that is still so (Linux, sched(7) and proc(5)). The
thread that does a server's network, which is no Python, goes where it likes.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

#: Seconds between two looks: at first, when several that started together may have chosen the same, and later.
FIRST_PAUSE, PAUSE = 0.25, 2.0
#: Seconds for which others are watched before the first choice.
GLANCE = 0.05
#: How much lower than others those threads stand (setpriority(2)) that only work on what others have left for them.
STEP_BACK = 10
#: Share of a processor by which another must be less used by others to be worth moving to.
MARGIN = 0.25
#: One of our own: the common one is for whoever wants its draws to come again.
_chance = random.SystemRandom()
_STAT, _TASKS = Path("/proc/stat"), Path("/proc/self/task")
_TICK = os.sysconf("SC_CLK_TCK")
#: Fields of a processor's line that are no work: idle, and idle while somebody waits for a disk.
_IDLE = (3, 4)
#: Fields before those of guests, which are in the others already.
_FIELDS = 8
#: What granian's threads are called. The eldest waits for the network, and hands each request to one of the others.
_NATIVE = "tokio-rt-worker"


@dataclass(frozen=True, slots=True)
class Look:
    """What was used by a moment, in seconds: of each processor, and by this process."""

    at: float
    busy: Mapping[int, float]
    own: float


class Berth:
    """Where a process runs: one of the processors that it may use."""

    def __init__(self, allowed: Collection[int]) -> None:
        self._allowed = frozenset(allowed)
        self._network: int | None = None
        before = self._look()
        time.sleep(GLANCE)
        self._seen = self._look()
        #: The processor that it keeps to; by chance among equals, because several processes start at once.
        self.place = _chance.choice(freest(others(before, self._seen, None)))
        self._take()

    def watch(self) -> None:
        """Look again and again, for as long as the process lives."""
        pause = FIRST_PAUSE
        while True:
            time.sleep(pause)
            pause = min(PAUSE, pause * 1.5)
            try:
                self.review()
            except Exception:  # the next look may go better
                log.exception("the use of the processors cannot be seen")

    def review(self) -> None:
        """Move to the processor that others have used least since the last look, if that is worth it."""
        before, self._seen = self._seen, self._look()
        best = chosen(others(before, self._seen, self.place), self.place)
        if _chance.getrandbits(1):  # processes that look at the same moment must not all move, and meet again
            self.place = best
        self._take()

    def _take(self) -> None:
        """Bring all threads to the place, also those that were started by one that was not there yet."""
        threads = sorted(map(int, os.listdir(_TASKS)))
        if self._network is None:
            self._network = next(filter(_is_native, threads), None)
        for thread in threads:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, self._allowed if thread == self._network else {self.place})

    def _look(self) -> Look:
        return Look(time.monotonic(), _busy(self._allowed), time.process_time())


def _is_native(thread: int) -> bool:
    try:
        return (_TASKS / str(thread) / "comm").read_text().strip() == _NATIVE
    except OSError:  # it has ended
        return False


def keep() -> None:
    """Keep this process, whose first thread calls, to one processor, where there are several and the kernel can."""
    if not hasattr(os, "sched_setaffinity") or not _STAT.exists():
        return
    allowed = os.sched_getaffinity(0)
    if len(allowed) > 1:
        threading.Thread(target=Berth(allowed).watch, name="affinity", daemon=True).start()


def behind(start: Callable[[], None]) -> None:
    """Start threads that let all others of this process go first, where the kernel can tell them apart.

    On one processor, whoever lets go of the interpreter for a moment has it again before anybody else is awake. Only
    who is more important gets the processor at once.
    """

    def step_back() -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), STEP_BACK)
        start()  # a thread begins with the priority of who started it

    if not hasattr(os, "sched_setaffinity"):
        start()  # elsewhere a priority is the whole process's
        return
    starter = threading.Thread(target=step_back, name="starter")
    starter.start()
    starter.join()


def others(before: Look, now: Look, place: int | None) -> dict[int, float]:
    """Return the share of each processor that other processes have used; all of our own was used at the place."""
    passed = now.at - before.at
    used = {one: now.busy[one] - before.busy[one] for one in now.busy if one in before.busy}
    if place is not None:
        used[place] = max(0.0, used.get(place, 0.0) - (now.own - before.own))
    return {one: seconds / passed for one, seconds in used.items()}


def chosen(used: Mapping[int, float], place: int) -> int:
    """Return where to go on, by the share that others use of each processor: here, unless another is much freer."""
    best = min(used, key=lambda one: used[one])
    return best if used[place] - used[best] > MARGIN else place


def freest(used: Mapping[int, float]) -> list[int]:
    """Return those processors than which no other is much freer."""
    least = min(used.values())
    return sorted(one for one, share in used.items() if share - least <= MARGIN)


def _busy(allowed: Collection[int]) -> dict[int, float]:
    """Return the seconds that each processor has worked."""
    busy = {}
    for line in _STAT.read_text().splitlines():
        name, *fields = line.split()
        number = name.removeprefix("cpu")
        if name != number and number.isdigit() and int(number) in allowed:
            ticks = [int(field) for at, field in enumerate(fields[:_FIELDS]) if at not in _IDLE]
            busy[int(number)] = sum(ticks) / _TICK
    return busy
