"""The circuit of one relay: whether mail may go to it, when it is probed, and how many may try at once.

    up ──the relay's fault, or SUSPECT lost dialogues in a row──▶ paused ──probe answers──▶ up, one sender, then 2, 4, …
     └──the operator's fault──▶ stopped ──probe answers──▶ up

Pure state: times come in, decisions go out. Thread-safe, because all senders of a process report to one circuit.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from api.core.claim import Blame, Result
from schemas.vocabulary import Outcome, TransportState

#: Dialogues in a row that end without a reply, on different messages: then it is the relay and not the message.
SUSPECT = 3
#: At most this share is added to the pause before a probe, so that many dispatchers do not knock together.
JITTER = 0.25


@dataclass(frozen=True, slots=True)
class View:
    """The state to be told: what it is, when the next probe is due (same clock as `now`), and why."""

    state: TransportState
    probe_at: float | None
    error: Result | None


class Circuit:
    """One relay's state in one dispatcher; times are seconds of a monotonic clock."""

    def __init__(
        self, *, senders: int, first: float, longest: float, rand: Callable[[], float] = random.random
    ) -> None:
        self._senders = senders
        self._first = first
        self._longest = longest
        self._rand = rand
        self._lock = threading.Lock()
        self._state = TransportState.UP
        self._probe_at: float | None = None
        self._probing = False
        self._error: Result | None = None
        self._allowed = senders
        #: Pauses since a message last got an answer: what the growth of the next one goes by.
        self._pauses = 0
        self._lost = 0

    def view(self) -> View:
        """Return what to tell of the relay."""
        with self._lock:
            return View(self._state, self._probe_at, self._error)

    def allowed(self) -> int:
        """Return how many messages may be under way at once; 0 unless the relay is up."""
        with self._lock:
            return self._allowed if self._state is TransportState.UP else 0

    def is_up(self) -> bool:
        """Tell whether mail may go to the relay."""
        return self._state is TransportState.UP  # one look needs no lock, and every mail looks

    def resume(self, state: TransportState, *, now: float) -> None:
        """Start in the state that an earlier dispatcher left, with a probe at once."""
        with self._lock:
            self._state = state
            self._probe_at = None if state is TransportState.UP else now

    def probe_due(self, now: float) -> bool:
        """Tell, once for each probe, that it is time for one."""
        with self._lock:
            due = self._probe_at is not None and now >= self._probe_at and not self._probing
            self._probing = self._probing or due
            return due

    def is_probing(self) -> bool:
        """Tell whether a probe is under way."""
        with self._lock:
            return self._probing

    def probed(self, result: Result, *, now: float) -> None:
        """Take in what a probe came to."""
        with self._lock:
            self._probing = False
            if result.outcome is Outcome.SENT:
                self._state = TransportState.UP
                self._probe_at = None
                self._allowed = 1  # whoever comes back is not met by the whole backlog at once
            else:
                self._trip(result, now)

    def attempted(self, result: Result, *, now: float) -> None:
        """Take in what an attempt at a message came to."""
        if result.outcome is Outcome.SENT and not self._recovering:
            return  # every mail comes by here, and nothing is to be noted of most
        with self._lock:
            if result.blame in (Blame.RELAY, Blame.OPERATOR):
                self._trip(result, now)
            elif result.reply.code is not None:
                self._lost = self._pauses = 0
                self._allowed = min(self._senders, self._allowed * 2)
            elif result.outcome in (Outcome.DEFERRED, Outcome.UNKNOWN):
                # An error of our own counts as well: what hits every message must not burn an attempt of each.
                self._lost += 1
                if self._lost >= SUSPECT:
                    self._trip(result, now)

    @property
    def _recovering(self) -> bool:
        return bool(self._lost or self._pauses) or self._allowed < self._senders

    def _trip(self, result: Result, now: float) -> None:
        stopped = result.blame is Blame.OPERATOR
        self._error = result
        if self._state is not TransportState.UP and self._probe_at is not None and self._probe_at > now:
            # Others that were under way fail for the same reason: one pause for all of them.
            self._state = TransportState.STOPPED if stopped else self._state
            return
        self._state = TransportState.STOPPED if stopped else TransportState.PAUSED
        pause = min(self._longest, self._first * 2.0 ** min(self._pauses, 32))
        self._probe_at = now + min(self._longest, pause * (1 + JITTER * self._rand()))
        self._pauses += 1
