"""The one road that writing transactions of a process take, one after the other and many in one commit.

Whoever comes while nobody writes goes at once and alone. Whoever comes meanwhile waits, and the first of those who
wait then leads all that may go together: they share one transaction, and so one wait for the disk.
"""

import contextlib
import contextvars
import fcntl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from api.core import errors

#: Seconds a writer waits for its turn before the caller is told to come back later.
BUSY_SECONDS = 5.0
#: Jobs that share a transaction at most: who comes later must not make the first wait for ever.
MAX_GROUP = 64
#: Seconds between two looks at a lock that another process holds: at first, and at most.
_LOOK_FIRST, _LOOK_LONGEST = 0.0002, 0.002


class Job:
    """What one caller wants written; `shares` tells whether others may go in the same transaction."""

    __slots__ = ("context", "deadline", "error", "is_done", "leads", "next", "result", "shares", "signal", "work")

    def __init__(self, work: Any, *, shares: bool, patience: float) -> None:
        self.work = work
        self.shares = shares
        #: Monotonic time at which the caller is told to come back, unless the job is under way by then.
        self.deadline = time.monotonic() + patience
        #: The caller's own: somebody else's thread may do the work.
        self.context = contextvars.copy_context()
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False
        self.leads = False
        #: Whom this one wakes.
        self.next: Job | None = None
        self.signal = threading.Lock()
        self.signal.acquire()

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """Note what came of it."""
        self.result, self.error, self.is_done = result, error, True


class Turn:
    """Whose turn it is to write: one thread per process, and on SQLite one process per file.

    SQLite's own wait for a lock is a sleep that grows to 100 ms and is unfair; queueing in front of it
    keeps two writing processes from a p99 near a second. It also keeps commit and checkpoint of two
    connections apart, which versions before 3.51.3 need (the WAL-reset bug).
    """

    def __init__(self, path: Path | None, *, patience: float = BUSY_SECONDS) -> None:
        self._path = path
        self._patience = patience
        self._thread = threading.Lock()
        self._files: list[IO[bytes]] = []

    @contextlib.contextmanager
    def taken(self, deadline: float | None = None) -> Iterator[None]:
        """Hold the turn. Raises Unavailable when it does not come by the deadline, a monotonic time."""
        deadline = time.monotonic() + self._patience if deadline is None else deadline
        if not self._thread.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise errors.Unavailable("The database is busy.")
        try:
            if self._path is None:
                yield
                return
            next_one, writer = self._opened(self._path)
            # Whoever is next holds the first lock until it has the second: so a process that writes again and
            # again comes behind who waits, and cannot shut it out.
            _lock(next_one, deadline)
            try:
                _lock(writer, deadline)
            finally:
                fcntl.flock(next_one, fcntl.LOCK_UN)
            try:
                yield
            finally:
                fcntl.flock(writer, fcntl.LOCK_UN)
        finally:
            self._thread.release()

    def close(self) -> None:
        """Let go of the lock files."""
        while self._files:
            self._files.pop().close()

    def _opened(self, path: Path) -> list[IO[bytes]]:
        if not self._files:
            try:
                self._files = [one.open("ab") for one in (path.with_suffix(".next"), path)]
            except OSError as error:
                raise errors.Unavailable("The database directory cannot be written.") from error
        return self._files


class Road:
    """Where jobs wait for each other; `carry` does a group of them and calls `end` on each, or raises."""

    def __init__(self, turn: Turn, carry: Callable[[Sequence[Job]], None]) -> None:
        self._turn = turn
        self._carry = carry
        self._guard = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._is_led = False

    def travel(self, job: Job) -> Any:
        """Have the job done and return its result. Raises its error, and Unavailable when its turn does not come."""
        with self._guard:
            self._waiting.append(job)
            leads = not self._is_led
            self._is_led = True
        if leads or self._is_to_lead(job):
            self._lead(job)
        elif job.next is not None:
            job.next.signal.release()
        if job.error is not None:
            raise job.error
        return job.result

    def _is_to_lead(self, job: Job) -> bool:
        """Wait until the job is done or is the first that waits; tell whether it is the latter."""
        if not job.signal.acquire(timeout=max(0.0, job.deadline - time.monotonic())):
            with self._guard:
                if job in self._waiting and not job.leads:
                    self._waiting.remove(job)
                    raise errors.Unavailable("The database is busy.")
            job.signal.acquire()  # it is under way: how it ends must be known
        return job.leads

    def _lead(self, own: Job) -> None:
        group = [own]
        try:
            with self._turn.taken(own.deadline):
                group = self._company(own)
                self._carry(group)
        except BaseException as error:  # noqa: BLE001 -- nobody may be left waiting; the leader raises it again
            for job in group:
                if job is own:
                    job.end(error=error)
                elif not job.is_done:
                    job.end(error=errors.Unavailable("The database cannot be written just now."))
        finally:
            self._hand_on(own)
            _wake([job for job in group if job is not own])

    def _company(self, own: Job) -> list[Job]:
        """Return the jobs that go with the first one, which is `own`, and take them from those that wait."""
        with self._guard:
            if not own.shares:
                return [self._waiting.popleft()]
            group = [job for job in self._waiting if job.shares][:MAX_GROUP]
            if len(group) == len(self._waiting):
                self._waiting.clear()
            else:
                taken = set(group)
                self._waiting = deque(job for job in self._waiting if job not in taken)
            return group

    def _hand_on(self, own: Job) -> None:
        """Let the first of those that wait go on."""
        with self._guard:
            if own in self._waiting:  # its turn did not come
                self._waiting.remove(own)
            if not self._waiting:
                self._is_led = False
                return
            following = self._waiting[0]
            following.leads = True
        following.signal.release()


def _wake(jobs: Sequence[Job]) -> None:
    """Let those go on whose jobs are done: each wakes the next. All at once, they would fight for the interpreter."""
    for job, following in pairwise(jobs):
        job.next = following
    if jobs:
        jobs[0].signal.release()


def _lock(file: IO[bytes], deadline: float) -> None:
    pause = _LOOK_FIRST
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # A blocking flock cannot time out, and its holder may be a stopped process.
            if time.monotonic() > deadline:
                raise errors.Unavailable("The database is busy.") from None
            time.sleep(pause)
            pause = min(pause * 1.5, _LOOK_LONGEST)
