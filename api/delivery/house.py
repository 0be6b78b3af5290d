"""A dispatcher's place among the others: signs of life, the jobs that concern the whole table, and the dead."""

import logging
import time
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.core import clock, dispatchers, jobs, journal, policy, transports
from api.core.db import db, transact
from api.core.dispatchers import Drive
from api.core.models import Dispatcher
from api.delivery.circuit import Circuit, View
from api.delivery.crew import Crew
from schemas.vocabulary import TransportState

log = logging.getLogger(__name__)

#: Of the time after which the silent count as dead, the share in which our claims are surely ours.
SURE = 0.6
#: Seconds between two looks for jobs while mail is under way.
POSTPONED = 2 * dispatchers.BEAT_SECONDS


class House:
    """What one dispatcher does besides sending; inside of an app context. Everything here raises Unavailable."""

    def __init__(self, me: UUID, circuit: Circuit, journals: Path, *, drive: Drive = Drive.THREAD) -> None:
        self.me = me
        self._drive = drive
        self._circuit = circuit
        self._journals = journals
        self._told: View | None = None
        self._beaten = float("-inf")
        #: When the jobs were looked for last: they are due, and may wait for the mail that is.
        self._worked = time.monotonic() - dispatchers.BEAT_SECONDS
        #: The last sign of life of each of the others, and since when (our monotonic seconds) there was no other.
        self._watched: dict[UUID, tuple[datetime | None, float]] = {}
        #: Others counted us as dead: what we still hold may be theirs, so each claim is asked about before DATA, and
        #: no new one is taken until these are through.
        self.doubted = False

    def path(self, id_: UUID) -> Path:
        """Return where a dispatcher keeps its journal."""
        return self._journals / f"dispatcher-{id_}.journal"

    def move_in(self) -> None:
        """Start in the state that the relay was left in, and see to who died before."""
        known = transports.get(db.session())
        if known is not None:
            self._circuit.resume(known.state, now=time.monotonic())
        else:
            # Nothing is held against it, and who asks is to find it; another dispatcher may be faster.
            up = partial(transports.report, name=transports.RELAY, state=TransportState.UP, next_probe_at=None)
            with suppress(IntegrityError):
                transact(up, durable=False)
        self._bury()

    def keep(self, crew: Crew) -> None:
        """Give a sign of life, and see to those who give none."""
        now = time.monotonic()
        if now - self._beaten >= dispatchers.BEAT_SECONDS:
            self.doubted = not transact(self._beat, durable=False) or self.doubted
            self._beaten = now
            self._bury()
        self.doubted = self.doubted and crew.open() > 0
        crew.vouch(0.0 if self.doubted else self._beaten + SURE * dispatchers.DEAD_AFTER.total_seconds())
        if self._circuit.probe_due(now):
            crew.probe()
        self._tell()

    def move_out(self) -> None:
        """Sign off."""
        self._tell()
        transact(partial(dispatchers.leave, id_=self.me), durable=False)

    def _beat(self, session: Session) -> bool:
        known = dispatchers.beat(session, self.me, drive=self._drive)
        if known:
            dispatchers.renew(session, self.me, lease=policy.current().lease)
        return known

    def work(self, *, busy: bool) -> None:
        """Do those of the periodic jobs that are due and that nobody else does; while it is busy, mail goes first."""
        now = time.monotonic()
        if now - self._worked < (POSTPONED if busy else dispatchers.BEAT_SECONDS):
            return
        self._worked = now
        if self._drive is not Drive.CELERY:  # there, beat says when
            for job in jobs.due():
                jobs.run(job)

    def _bury(self) -> None:
        """See to who is gone: at once if its process is, else when it has given no sign of life for long enough.

        How long is counted by our own steady clock: a wall clock that jumps makes nobody silent.
        """
        for one in dispatchers.others(db.session(), me=self.me):
            local = one.host == dispatchers.host()
            runs = not local or dispatchers.runs(one.pid)
            silent = self._is_silent(one)
            if runs and not silent:
                continue
            with journal.left_behind(self.path(one.id)) as left:
                if left is None and local and not (silent and runs):
                    continue  # its journal is locked: it is alive with another id here, or another dispatcher buries it
                found = left if local or (left is not journal.NONE and dispatchers.shares_journals(one)) else None
                recovered = transact(partial(self._inherit, one=one, left=found), durable=False)
            if recovered:
                log.warning("%d deliveries of a dead dispatcher fall due again", recovered)

    def _is_silent(self, one: Dispatcher) -> bool:
        now = time.monotonic()
        seen_at, since = self._watched.get(one.id, (None, now))
        if seen_at != one.seen_at:
            since = now
        self._watched[one.id] = (one.seen_at, since)
        return now - since >= dispatchers.DEAD_AFTER.total_seconds()

    def _inherit(self, session: Session, *, one: Dispatcher, left: journal.Replay | None) -> int:
        return dispatchers.bury(session, one, left, schedule=policy.current().schedule)

    def _tell(self) -> None:
        """Write the relay's state where everybody can read it, when it has changed."""
        view = self._circuit.view()
        if view == self._told or (self._told is None and view.state is TransportState.UP and view.error is None):
            return
        probe_at = None
        if view.probe_at is not None:
            probe_at = clock.utcnow() + timedelta(seconds=max(0.0, view.probe_at - time.monotonic()))
        report = partial(
            transports.report, name=transports.RELAY, state=view.state, next_probe_at=probe_at, error=view.error
        )
        transact(report, durable=False)
        if self._told is None or self._told.state is not view.state:
            log.warning("relay is %s", view.state.value)
        self._told = view
