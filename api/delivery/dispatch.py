"""The dispatcher: claim what is due, have it sent, see to the relay, the leases and the other dispatchers."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from flask import Flask
from sqlalchemy.orm import Session

from api.core import clock, dispatchers, erasure, outbox, policy, transports
from api.core.claim import Claim
from api.core.db import db, transact
from api.core.errors import Unavailable
from api.delivery.circuit import Circuit, View
from api.delivery.crew import Crew
from api.delivery.smtp import mail
from schemas.vocabulary import TransportState

log = logging.getLogger(__name__)

#: Claims held for each sender: the one under way, and one more so that it need not wait for the database.
AHEAD = 2
#: Seconds between two looks at the table when nobody nudges: other processes accept mail too.
POLL_SECONDS = 0.5
#: Seconds between two rounds of the jobs that concern the whole table.
SWEEP_SECONDS = 60.0
#: Seconds before the database is asked again after it failed.
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """The operator's numbers; times in seconds."""

    senders: int
    probe_first: float
    probe_max: float
    grace: float


class Dispatcher:
    """One dispatcher of this process: run it in a thread of its own, or as the whole process."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._settings: DispatchSettings = app.extensions["postroom.dispatch"]
        self._wake = threading.Event()
        self._circuit = Circuit(
            senders=self._settings.senders, first=self._settings.probe_first, longest=self._settings.probe_max
        )
        self._told: View | None = None
        self._beaten = self._swept = float("-inf")
        #: A sentence while the dispatcher cannot do its work, for `/readyz`.
        self.trouble: str | None = None

    def nudge(self) -> None:
        """Say that something may be due; safe from any thread."""
        self._wake.set()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Dispatch until `stopping()`, then let open transactions end within the grace time and give back the rest."""
        self._run(lambda _idle: stopping())

    def run_until_idle(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Dispatch until nothing that may be sent now is due."""
        self._run(lambda idle: idle or stopping())

    def _run(self, ends: Callable[[bool], bool]) -> None:
        me = self._enlist(ends)
        if me is None:
            return
        with self._app.app_context():
            crew = Crew(self._app, mail, size=self._settings.senders, circuit=self._circuit, wake=self.nudge)
        try:
            pause = 0.0
            idle = False
            while not ends(idle):
                self._wake.wait(pause)
                idle, pause = self._turn(me, crew)
        finally:
            unbegun = crew.stop(grace=self._settings.grace)
            self._leave(me, unbegun)

    def _enlist(self, ends: Callable[[bool], bool]) -> UUID | None:
        """Announce this dispatcher as soon as the database lets it; None if it is to end before that."""
        while not ends(False):
            try:
                with self._app.app_context():
                    me = transact(dispatchers.register, durable=False)
                    known = transports.get(db.session())
                    if known is not None:
                        self._circuit.resume(known.state, now=time.monotonic())
                self.trouble = None
            except Unavailable as error:
                self._stumble(error)
            else:
                return me
        return None

    def _turn(self, me: UUID, crew: Crew) -> tuple[bool, float]:
        """Do what is to be done now; tell whether nothing is under way or due, and the seconds until something may be."""
        self._wake.clear()
        try:
            with self._app.app_context():
                self._keep_house(me, crew)
                claimed = self._claim(me, crew)
                pause = POLL_SECONDS if claimed else self._until_due(me)
            self.trouble = None
        except Unavailable as error:
            self._stumble(error)
            return False, 0.0
        if claimed or crew.open() or self._circuit.is_probing():
            # Whoever has an answer wakes this loop; what fell due meanwhile waits for a free sender anyway.
            return False, POLL_SECONDS
        return pause > 0, pause

    def _keep_house(self, me: UUID, crew: Crew) -> None:
        now = time.monotonic()
        back = crew.returned()
        if back:
            transact(lambda session: outbox.release(session, back), durable=False)
        if now - self._beaten >= dispatchers.BEAT_SECONDS:
            self._beat(me)
            self._beaten = now
        if now - self._swept >= SWEEP_SECONDS:
            rules = policy.current()
            transact(lambda session: outbox.unstick(session, schedule=rules.schedule, lease=rules.lease), durable=False)
            self._swept = now
        if self._circuit.probe_due(now):
            crew.probe()
        self._tell()

    def _beat(self, me: UUID) -> None:
        def work(session: Session) -> int:
            dispatchers.beat(session, me)
            outbox.expire(session)
            erasure.purge(session)
            return dispatchers.bury(session, me=me)

        recovered = transact(work, durable=False)
        if recovered:
            log.warning("deliveries of dead dispatchers fall due again", extra={"deliveries": recovered})

    def _claim(self, me: UUID, crew: Crew) -> list[Claim]:
        """Claim for every transport what there is room for."""
        rooms = {
            transports.RELAY: self._circuit.allowed() * AHEAD - crew.open(),
            transports.CAPTURE: self._settings.senders * AHEAD - crew.open(),
        }
        lease = policy.current().lease
        open_to = [name for name, room in rooms.items() if room > 0]
        if not open_to or not outbox.is_due(db.session(), transports=open_to, holder=me):
            return []
        claimed: list[Claim] = []
        for name in open_to:
            limit = rooms[name] - len(claimed)
            if limit > 0:
                take = partial(outbox.claim, holder=me, transport=name, limit=limit, lease=lease)
                claimed += transact(take, durable=False)
        crew.take(claimed)
        return claimed

    def _until_due(self, me: UUID) -> float:
        """Return the seconds to wait, at most a poll's; 0 if something fell due that may be sent."""
        open_to = [transports.CAPTURE, *([transports.RELAY] if self._circuit.is_up() else [])]
        due = outbox.next_due(db.session(), transports=open_to, holder=me)
        if due is None:
            return POLL_SECONDS
        return max(0.0, min(POLL_SECONDS, (due - clock.utcnow()).total_seconds()))

    def _tell(self) -> None:
        """Write the relay's state where everybody can read it, when it has changed."""
        view = self._circuit.view()
        if view == self._told or (self._told is None and view.state is TransportState.UP and view.error is None):
            return
        probe_at = None
        if view.probe_at is not None:
            probe_at = clock.utcnow() + timedelta(seconds=max(0.0, view.probe_at - time.monotonic()))
        transact(
            lambda session: transports.report(
                session, name=transports.RELAY, state=view.state, next_probe_at=probe_at, error=view.error
            ),
            durable=False,
        )
        if self._told is None or self._told.state is not view.state:
            log.warning("relay is %s", view.state.value)
        self._told = view

    def _stumble(self, error: Unavailable) -> None:
        self.trouble = error.detail
        log.error("dispatcher: %s", error.detail)
        self._wake.wait(RETRY_SECONDS)

    def _leave(self, me: UUID, unbegun: list[Claim]) -> None:
        try:
            with self._app.app_context():
                transact(lambda session: outbox.release(session, unbegun), durable=False)
                transact(lambda session: dispatchers.leave(session, me), durable=False)
        except Unavailable:
            log.warning("could not sign off; the rows still held fall due when this process is found to be gone")
