"""The crew: a bounded number of threads, each with a line of its own, that send what the dispatcher claimed."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from flask import Flask

from api.core import clock, outbox, policy
from api.core.claim import Blame, Claim, Reply, Result, Settlement
from api.core.db import transact
from api.core.errors import Unavailable
from api.core.journal import Journal
from api.delivery.circuit import Circuit
from api.delivery.sender import Sender
from api.delivery.smtp import Mail
from schemas.vocabulary import Outcome, Phase

log = logging.getLogger(__name__)

#: Seconds after which an idle thread looks whether its kept connection should go.
IDLE_SECONDS = 5.0
#: Seconds that cut connections may take to end.
ABORT_SECONDS = 5.0


class Crew:
    """Sender threads over one queue; what they leave is fetched by the dispatcher."""

    def __init__(
        self, app: Flask, mail: Mail, *, size: int, circuit: Circuit, journal: Journal, wake: Callable[[], None]
    ) -> None:
        self.app = app
        self.circuit = circuit
        self.journal = journal
        self._wake = wake
        self._todo: queue.SimpleQueue[Claim | str | None] = queue.SimpleQueue()
        #: How many claims were taken, and how many of them fetched again: both by the dispatcher.
        self._taken = self._fetched = 0
        self._size = size
        self._resting = threading.Condition()
        # Written by all, read by the dispatcher: appending to a deque and taking from it need no lock.
        self._settlements: deque[Settlement] = deque()
        self._returned: deque[Claim] = deque()
        self._stopping = False
        #: Until when (monotonic seconds) nobody can have taken our claims for those of the dead.
        self._fresh_until = 0.0
        self._senders = [Sender(mail) for _ in range(size)]
        # Daemons: the dispatcher's own thread keeps the process until they are done, or until grace is over.
        self._threads = [
            threading.Thread(target=self._work, args=(number, sender), name=f"sender-{number}", daemon=True)
            for number, sender in enumerate(self._senders)
        ]
        for thread in self._threads:
            thread.start()

    def open(self) -> int:
        """Return how many claims are queued or under way."""
        return self._taken - self._fetched - len(self._settlements) - len(self._returned)

    def waiting(self) -> int:
        """Return about how many claims wait for a thread."""
        return self._todo.qsize()

    def take(self, claims: Iterable[Claim]) -> None:
        """Queue claims for sending."""
        for claim in claims:
            self._taken += 1
            self._todo.put(claim)

    def resize(self, size: int) -> None:
        """Let so many threads work; the others rest, and their connections are closed when they have grown old."""
        if size != self._size:
            with self._resting:
                self._size = size
                self._resting.notify_all()

    def probe(self) -> None:
        """Have the relay probed by the next free thread."""
        self._todo.put("probe")

    def vouch(self, until: float) -> None:
        """Say until when (monotonic seconds) the claims are ours without asking."""
        self._fresh_until = until

    def fetch(self) -> tuple[list[Settlement], list[Claim]]:
        """Return, once, what attempts came to and what is to be given back."""
        settlements = [self._settlements.popleft() for _ in range(len(self._settlements))]
        returned = [self._returned.popleft() for _ in range(len(self._returned))]
        self._fetched += len(settlements) + len(returned)
        return settlements, returned

    def stop(self, *, grace: float) -> None:
        """End: begin nothing more, wait `grace` seconds for what is under way, then cut its connections."""
        self._stopping = True
        self.resize(len(self._threads))
        for _ in self._threads:
            self._todo.put(None)
        self._join(grace)
        if any(thread.is_alive() for thread in self._threads):
            for sender in self._senders:
                sender.abort()
            self._join(ABORT_SECONDS)
        self._clear()

    def _clear(self) -> None:
        """Let go of what was put back when everybody had gone already."""
        while not self._todo.empty():
            item = self._todo.get()
            if isinstance(item, Claim):
                self.let_go(item)

    def next(self, number: int) -> Claim | None:
        """Return a queued claim that may be sent now by this thread, without waiting."""
        if self._stopping or number >= self._size or not self.circuit.is_up():
            return None
        try:
            item = self._todo.get_nowait()
        except queue.Empty:
            return None
        if isinstance(item, Claim):
            return item
        self._todo.put(item)  # a probe or the end: for a thread that waits
        return None

    def holds(self, claim: Claim) -> bool:
        """Tell whether a claim is still ours to send; after too long a silence of ours the table is asked."""
        if time.monotonic() < self._fresh_until:
            return True
        try:
            with self.app.app_context():
                lease = policy.current().lease
                return transact(lambda session: outbox.confirm(session, claim, lease=lease), durable=False)
        except Unavailable:
            return False

    def put_back(self, claim: Claim) -> None:
        """Queue a claim again that was not begun after all."""
        if self._stopping:
            self.let_go(claim)  # behind the word to end nobody would find it
        else:
            self._todo.put(claim)

    def let_go(self, claim: Claim) -> None:
        """Leave a claim to be given back to the table."""
        self._returned.append(claim)
        self._wake()

    def done(self, settlement: Settlement) -> None:
        """Leave a result to be stored."""
        self.circuit.attempted(settlement.result, now=time.monotonic())
        self._settlements.append(settlement)
        self._wake()

    def _join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _rest(self, number: int, sender: Sender) -> None:
        with self._resting:
            while number >= self._size:
                if not self._resting.wait(IDLE_SECONDS):
                    sender.close_if_idle()

    def _work(self, number: int, sender: Sender) -> None:
        hand = Hand(self, number)
        while True:
            self._rest(number, sender)
            try:
                item = self._todo.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                sender.close_if_idle()
                continue
            if item is None:
                sender.close()
                return
            if isinstance(item, str):
                self.circuit.probed(sender.probe(), now=time.monotonic())
                self._wake()
            elif self._stopping or not self.circuit.is_up():
                self.let_go(item)
            else:
                hand.send(sender, item)


class Hand:
    """One thread's shift: where its stream of mail comes from, and where the results go to."""

    def __init__(self, crew: Crew, number: int) -> None:
        self._crew = crew
        self._number = number
        self._unwritten: Settlement | None = None
        self._held: dict[int, Claim] = {}
        #: The latest that was let into DATA.
        self._inside: Claim | None = None

    def send(self, sender: Sender, claim: Claim) -> None:
        """Send a claim and what follows it; whatever happens, every claim taken is accounted for."""
        self._held[claim.delivery_id.int] = claim
        try:
            sender.stream(claim, self)
        except Exception as error:
            log.exception("sending failed in an unforeseen way")
            sender.close()
            reply = Reply(None, None, f"internal error: {type(error).__name__}")
            for held in list(self._held.values()):
                # What was let into DATA may be through: nobody can tell any more.
                outcome = Outcome.UNKNOWN if held is self._inside else Outcome.DEFERRED
                self.report(held, Result(outcome, Blame.MESSAGE, Phase.MESSAGE, reply, 0))
        self._write(None)

    def next(self) -> Claim | None:
        """Return another claim, if one is there at once and may be sent."""
        claim = self._crew.next(self._number)
        if claim is not None:
            self._held[claim.delivery_id.int] = claim
        return claim

    def enter(self, claim: Claim) -> bool:
        """Let a claim into DATA, if it is still ours and the journal knows."""
        if self._crew.holds(claim) and self._write(claim):
            self._inside = claim
            return True
        self._held.pop(claim.delivery_id.int, None)
        self._crew.let_go(claim)
        return False

    def report(self, claim: Claim, result: Result) -> None:
        """Take what came of a claim: to the journal before this thread's next final dot, and to the dispatcher."""
        self._write(None)
        self._held.pop(claim.delivery_id.int, None)
        self._unwritten = Settlement(claim, result, clock.utcnow())
        self._crew.done(self._unwritten)

    def give_back(self, claim: Claim) -> None:
        """Take back a claim that was not begun."""
        self._held.pop(claim.delivery_id.int, None)
        self._crew.put_back(claim)

    def _write(self, begun: Claim | None) -> bool:
        """Write to the journal what this thread owes it; False if that cannot be done now."""
        settled, self._unwritten = self._unwritten, None
        if settled is None and begun is None:
            return True
        try:
            self._crew.journal.write(settled, begun)
        except Unavailable as error:
            log.error("%s", error.detail)
            return False
        return True
