"""The dispatcher: claim what is due, have it sent, store what came of it, and see to the relay and the leases."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from flask import Flask
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.core import clock, dispatchers, exchange, outbox, policy, transports
from api.core.claim import Claim, Hold, Settlement
from api.core.db import db, transact
from api.core.dispatchers import Drive
from api.core.errors import Unavailable
from api.core.exchange import Wanted
from api.core.journal import Journal
from api.delivery.capture import Capture
from api.delivery.circuit import Circuit
from api.delivery.crew import Crew
from api.delivery.house import House
from api.delivery.sizing import PERIOD, START, Pace, Sizing, Stock
from api.delivery.smtp import mail

log = logging.getLogger(__name__)

#: What a database in trouble raises: `transact` the first, a read the others.
_TROUBLE = (Unavailable, DBAPIError, PoolTimeout)

#: Seconds between two looks at the table when nobody nudges: other processes accept mail too.
POLL_SECONDS = 0.5
#: Seconds that results and nudges are gathered while mail is under way, so that one transaction serves many; and looks
#: in that time whether the senders run dry, who are not made to wait.
GATHER_SECONDS, GATHER_LOOKS = 0.02, 4
#: Seconds before the database is asked again after it failed.
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """The operator's numbers, times in seconds; and where a dispatcher keeps its journal."""

    senders: int
    rate: float | None
    probe_first: float
    probe_max: float
    grace: float
    journals: Path


class Dispatcher:
    """One dispatcher of this process: run it in a thread of its own, or as the whole process."""

    def __init__(self, app: Flask, *, drive: Drive = Drive.THREAD) -> None:
        self._app = app
        self._drive = drive
        self._settings: DispatchSettings = app.extensions["postroom.dispatch"]
        self._wake = threading.Event()
        self._circuit = Circuit(
            senders=self._settings.senders, first=self._settings.probe_first, longest=self._settings.probe_max
        )
        self._unsettled: list[Settlement] = []
        self._returned: list[Hold] = []
        self._capture = Capture()
        # Requests go first there: mail takes longer to be sent and noted, and more of it is copied when that is killed.
        shares = drive is Drive.THREAD
        self._stock = Stock(self._settings.senders, shares=shares)
        #: Claims whose commit was never answered.
        self._doubtful: list[Wanted] = []
        self._captured_at = float("-inf")
        self._sizing = Sizing(self._settings.senders, start=1 if shares else START)
        self._pace = Pace(self._settings.rate)
        #: A sentence while the dispatcher cannot do its work, for `/readyz`.
        self.trouble: str | None = None

    def nudge(self) -> None:
        """Say that something may be due; safe from any thread."""
        if not self._wake.is_set():
            self._wake.set()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Dispatch until `stopping()`, then let open transactions end within the grace time and give back the rest."""
        self.run_until(lambda _idle: stopping())

    def run_until_idle(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Dispatch until nothing that may be sent now is due."""
        self.run_until(lambda idle: idle or stopping())

    def run_until(self, ends: Callable[[bool], bool]) -> None:
        """Dispatch until `ends(idle)`; it is asked after each turn, and told whether there is nothing to do now."""
        house = self._enlist(ends)
        if house is None:
            return
        journal = Journal(house.path(house.me))
        with self._app.app_context():
            crew = Crew(
                self._app, mail, size=self._settings.senders, circuit=self._circuit, journal=journal, wake=self.nudge
            )
        try:
            pause = 0.0
            idle = False
            while not ends(idle):
                self._wake.wait(pause)
                if crew.open():
                    self._gather(crew)
                idle, pause = self._turn(house, crew)
        finally:
            crew.stop(grace=self._settings.grace)
            self._leave(house, crew)
            journal.close()

    def _gather(self, crew: Crew) -> None:
        for _ in range(looks := GATHER_LOOKS if self._stock.hurries() else 1):
            if self._stock.runs_dry(crew.waiting()):
                return
            time.sleep(GATHER_SECONDS / looks)

    def _enlist(self, ends: Callable[[bool], bool]) -> House | None:
        """Announce this dispatcher as soon as the database lets it; None if it is to end before that."""
        while not ends(False):
            try:
                with self._app.app_context():
                    me = transact(partial(dispatchers.register, drive=self._drive), durable=False)
                    house = House(me, self._circuit, self._settings.journals, drive=self._drive)
                    house.move_in()
                self.trouble = None
            except _TROUBLE as error:
                self._stumble(error)
            else:
                return house
        return None

    def _turn(self, house: House, crew: Crew) -> tuple[bool, float]:
        """Do what there is to do; tell whether nothing is under way or due, and the seconds until something may be."""
        self._wake.clear()
        try:
            with self._app.app_context():
                self._recall()
                house.keep(crew)
                took = self._test(house.me)
                took = self._exchange(crew, self._wanted(house, crew)) or took
                busy = took or self._is_busy(crew)
                house.work(busy=busy)
                # Whoever waits may need one more sender.
                under_way = PERIOD if crew.waiting() else POLL_SECONDS
                pause = under_way if busy else self._until_due(house.me)
            self.trouble = None
        except _TROUBLE as error:
            self._stumble(error)
            return False, 0.0
        # While it is busy, whoever has an answer wakes this loop; what fell due meanwhile waits for a sender anyway.
        return not busy and pause > 0, pause

    def _exchange(self, crew: Crew, wanted: Wanted | None) -> bool:
        """Store results, give back what was not begun and take new claims, in one transaction; tell whether any came.

        What cannot be stored now is kept for the next time.
        """
        self._stock.unclaimed()
        settlements, returned = crew.fetch()
        self._unsettled += settlements
        self._returned += returned
        waiting = crew.waiting()
        now, used = time.monotonic(), time.process_time()
        # A queue that is empty for a moment is not the end of the backlog.
        crew.resize(
            self._sizing.observe(done=len(settlements), waiting=waiting or self._stock.more, now=now, used=used)
        )
        if not self._unsettled and not self._returned and not self._is_worth(wanted):
            return False
        late, claims = self._transact(wanted)
        crew.journal.forget([one.hold.delivery_id for one in self._unsettled])
        for one in late:
            log.warning("late %s of delivery %s refused", one.result.outcome, one.hold.delivery_id)
        self._unsettled, self._returned = [], []
        if wanted is not None:
            crew.take(claims)
            self._pace.spend(len(claims))
            self._stock.claimed(len(claims), wanted.limit, waiting=waiting)
        return bool(claims)

    def _transact(self, wanted: Wanted | None) -> tuple[list[Settlement], list[Claim]]:
        """Do the exchange; if the database is lost over it, the claim may be done all the same, and is noted."""
        work = partial(
            exchange.exchange,
            settlements=self._unsettled,
            returned=self._returned,
            wanted=wanted,
            schedule=policy.current().schedule,
            rand=random.random,
        )
        try:
            return transact(work, durable=False)
        except _TROUBLE:
            if wanted is not None:
                self._doubtful.append(wanted)
            raise

    def _recall(self) -> None:
        """Give back what claims may have taken of which nobody has heard."""
        while self._doubtful:
            lost = self._doubtful[0]
            transact(partial(outbox.revoke, holder=lost.holder, token=lost.token), durable=False)
            self._doubtful.pop(0)

    def _wanted(self, house: House, crew: Crew) -> Wanted | None:
        """Return what there is room for; None while nothing is to be claimed, or enough waits for the senders."""
        if house.doubted or not self._circuit.is_up() or crew.waiting() > self._stock.size // 2:
            return None
        room = self._pace.grant(self._room() - crew.open(), now=time.monotonic())
        if room <= 0:
            return None
        return Wanted(house.me, transports.RELAY, limit=room, lease=policy.current().lease)

    def _is_worth(self, wanted: Wanted | None) -> bool:
        """Tell whether a transaction that does nothing but claim may find something."""
        if wanted is None or self._stock.more:
            return wanted is not None
        # A read tells for less than a writing transaction.
        return outbox.is_due(db.session(), transport=wanted.transport, holder=wanted.holder)

    def _test(self, me: UUID) -> bool:
        """Deliver test mail, unless that was looked for a moment ago."""
        now = time.monotonic()
        if now - self._captured_at < GATHER_SECONDS * 5:
            return False
        took = self._capture.deliver(me)
        self._captured_at = float("-inf") if took else now
        return took

    def _is_busy(self, crew: Crew) -> bool:
        """Tell whether anything is under way."""
        return crew.open() > 0 or self._capture.open() > 0 or bool(self._unsettled) or self._circuit.is_probing()

    def _room(self) -> int:
        """Return how many claims may be open: few while the relay is slow or has just come back."""
        allowed = self._circuit.allowed()
        return self._stock.size if allowed == self._settings.senders else allowed

    def _until_due(self, me: UUID) -> float:
        """Return the seconds to wait, at most a poll's; 0 if something fell due that may be sent."""
        names = [transports.CAPTURE, *([transports.RELAY] if self._circuit.is_up() else [])]
        due = outbox.next_due(db.session(), transports=names, holder=me)
        if due is None:
            return POLL_SECONDS
        return max(0.0, min(POLL_SECONDS, (due - clock.utcnow()).total_seconds()))

    def _stumble(self, error: Exception) -> None:
        said = error.detail if isinstance(error, Unavailable) else "The database cannot be read just now."
        if self.trouble != said:
            log.error("dispatcher: %s", said)
        self.trouble = said
        # Somebody's call from before is answered by this very trouble.
        self._wake.clear()
        self._wake.wait(RETRY_SECONDS)

    def _leave(self, house: House, crew: Crew) -> None:
        try:
            with self._app.app_context():
                self._returned += self._capture.give_back()
                self._exchange(crew, None)
                house.move_out()
        except _TROUBLE:
            log.warning("could not sign off; the journal and the rows still held are found when this process is gone")
