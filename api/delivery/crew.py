"""The crew: a bounded number of senders, each with a line of its own, that send what the dispatcher claimed."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from flask import Flask

from api.core import clock, outbox, policy
from api.core.claim import Blame, Claim, Reply, Result, Settlement
from api.core.db import transact
from api.core.errors import Unavailable
from api.core.journal import Journal
from api.delivery.circuit import Circuit
from api.delivery.loop import Loop, Task, away, current
from api.delivery.sender import Sender
from api.delivery.smtp import Mail
from schemas.vocabulary import Outcome, Phase

log = logging.getLogger(__name__)

#: Seconds after which an idle sender looks whether its kept connection should go.
IDLE_SECONDS = 5.0
#: Seconds that cut connections may take to end.
ABORT_SECONDS = 5.0


class Crew:
    """Senders over one queue, all of them in one thread; what they leave is fetched by the dispatcher."""

    def __init__(
        self, app: Flask, mail: Mail, *, size: int, circuit: Circuit, journal: Journal, wake: Callable[[], None]
    ) -> None:
        self.app = app
        self.circuit = circuit
        self.journal = journal
        self._wake = wake
        # Written by one thread and read by another: appending to a deque and taking from it need no lock.
        self._todo: deque[Claim | str] = deque()
        self._settlements: deque[Settlement] = deque()
        self._returned: deque[Claim] = deque()
        #: How many claims were taken, and how many of them fetched again: both by the dispatcher.
        self._taken = self._fetched = 0
        self._size = size
        self._stopping = False
        #: Until when (monotonic seconds) nobody can have taken our claims for those of the dead.
        self._fresh_until = 0.0
        self._senders = [Sender(mail) for _ in range(size)]
        #: Those with nothing to do, by their number.
        self._idle: dict[int, Task] = {}
        self._loop = Loop(self._deal)
        # A daemon: the dispatcher's own thread keeps the process until it is done, or until grace is over.
        self._thread = threading.Thread(target=self._run, name="senders", daemon=True)
        self._thread.start()

    def open(self) -> int:
        """Return how many claims are queued or under way."""
        return self._taken - self._fetched - len(self._settlements) - len(self._returned)

    def waiting(self) -> int:
        """Return about how many claims wait for a sender."""
        return len(self._todo)

    def take(self, claims: Iterable[Claim]) -> None:
        """Queue claims for sending."""
        claims = tuple(claims)
        self._taken += len(claims)
        self._todo.extend(claims)
        self._loop.wake()

    def resize(self, size: int) -> None:
        """Let so many senders work; the others rest, and their connections are closed when they have grown old."""
        if size != self._size:
            self._size = size
            self._loop.wake()

    def probe(self) -> None:
        """Have the relay probed by the next free sender."""
        self._todo.append("probe")
        self._loop.wake()

    def vouch(self, until: float) -> None:
        """Say until when (monotonic seconds) the claims are ours without asking."""
        self._fresh_until = until

    def fetch(self) -> tuple[list[Settlement], list[Claim]]:
        """Return, once, what attempts came to and what is to be given back. Raises RuntimeError if nobody sends."""
        if not (self._stopping or self._thread.is_alive()):
            raise RuntimeError("the senders' thread has ended")  # whoever watches the dispatcher starts another one
        settlements = [self._settlements.popleft() for _ in range(len(self._settlements))]
        returned = [self._returned.popleft() for _ in range(len(self._returned))]
        self._fetched += len(settlements) + len(returned)
        return settlements, returned

    def stop(self, *, grace: float) -> None:
        """End: begin nothing more, wait `grace` seconds for what is under way, then cut its connections."""
        self._stopping = True
        self._loop.wake()
        self._thread.join(grace)
        if self._thread.is_alive():
            for sender in self._senders:
                sender.abort()
            self._thread.join(ABORT_SECONDS)

    def next(self, number: int) -> Claim | None:
        """Return a queued claim that may be sent now by this sender, without waiting."""
        if number >= self._size or not self._may_begin():
            return None
        if self._todo and isinstance(claim := self._todo[0], Claim):
            self._todo.popleft()
            return claim
        return None  # nothing, or a probe: for a sender that is free

    def holds(self, claim: Claim) -> bool:
        """Tell whether a claim is still ours to send; after too long a silence of ours the table is asked."""
        return time.monotonic() < self._fresh_until or away(partial(self._confirm, claim))

    def _confirm(self, claim: Claim) -> bool:
        try:
            with self.app.app_context():
                lease = policy.current().lease
                return transact(lambda session: outbox.confirm(session, claim, lease=lease), durable=False)
        except Unavailable:
            return False

    def put_back(self, claim: Claim) -> None:
        """Queue a claim again that was not begun after all."""
        self._todo.append(claim)

    def let_go(self, claim: Claim) -> None:
        """Leave a claim to be given back to the table."""
        self._returned.append(claim)
        self._wake()

    def done(self, settlement: Settlement) -> None:
        """Leave a result to be stored."""
        self.circuit.attempted(settlement.result, now=time.monotonic())
        self._settlements.append(settlement)
        self._wake()

    def _run(self) -> None:
        self._loop.run(partial(self._work, number, sender) for number, sender in enumerate(self._senders))
        self._clear()

    def _clear(self) -> None:
        """Let go of what nobody will begin any more."""
        while self._todo:
            item = self._todo.popleft()
            if isinstance(item, Claim):
                self.let_go(item)

    def _deal(self) -> None:
        """Give those who rest what there is to do, the first of them first: no more connections are used than needed.

        At the end they get nothing, and see that it is the end.
        """
        if self._stopping:
            self._clear()
        for number in sorted(self._idle) if self._todo or self._stopping else ():
            if self._stopping:
                self._loop.give(self._idle.pop(number), None)
            elif self._todo and number < self._size:
                self._loop.give(self._idle.pop(number), self._todo.popleft())

    def _may_begin(self) -> bool:
        return not self._stopping and self.circuit.is_up()

    def _get(self, number: int) -> Claim | str | None:
        """Return what there is to do for a sender, None if there was nothing for a while."""
        task = current()
        assert task is not None  # noqa: S101 -- all senders run in the loop
        self._idle[number] = task
        item: Claim | str | None = self._loop.rest(task, IDLE_SECONDS)
        self._idle.pop(number, None)
        return item

    def _work(self, number: int, sender: Sender) -> None:
        hand = Hand(self, number)
        while not self._stopping:
            item = self._get(number)
            if item is None:
                sender.close_if_idle()
            elif isinstance(item, str):
                self.circuit.probed(sender.probe(), now=time.monotonic())
                self._wake()
            elif not self._may_begin():
                self.let_go(item)
            else:
                hand.send(sender, item)
        sender.close()


class Hand:
    """One sender's shift: where its stream of mail comes from, and where the results go to."""

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
            if self._unwritten is not None:
                # Its envelope goes out first: until that is answered, a result must not be known to this process alone.
                self._write(None)
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
        """Take what came of a claim: to the journal before this sender's next final dot, and to the dispatcher."""
        self._write(None)
        self._held.pop(claim.delivery_id.int, None)
        self._unwritten = Settlement(claim, result, clock.utcnow())
        self._crew.done(self._unwritten)

    def give_back(self, claim: Claim) -> None:
        """Take back a claim that was not begun."""
        self._held.pop(claim.delivery_id.int, None)
        self._crew.put_back(claim)

    def _write(self, begun: Claim | None) -> bool:
        """Write to the journal what this sender owes it; False if that cannot be done now."""
        settled, self._unwritten = self._unwritten, None
        if settled is None and begun is None:
            return True
        try:
            self._crew.journal.write(settled, begun)
        except Unavailable as error:
            log.error("%s", error.detail)
            return False
        return True
