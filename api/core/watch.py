"""Watching: who waits for a notification to change is told by one thread, which asks the table for all of them at once.

A waiter takes a seat, of which there are only so many, marks how the notification stands, reads it, and waits until
the mark is no longer right. It holds no connection meanwhile. What this process writes wakes the watcher at once; what
others write is seen at the next look.
"""

import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flask import Flask, current_app
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from api.core import clock, tokens
from api.core.db import db
from api.core.errors import Unavailable
from api.core.models import ApiKey, Delivery, Notification
from schemas.vocabulary import DeliveryStatus

log = logging.getLogger(__name__)

#: Seconds between two looks at the table: when nobody nudges, and at least, however often somebody does.
POLL_SECONDS, SHORTEST_SECONDS = 0.5, 0.05
#: Seconds before the database is asked again after it failed.
RETRY_SECONDS = 1.0
#: Seconds that the end of the thread is waited for at most: a read may hang.
END_SECONDS = 5.0
#: Seats at once of all who come by the status token of one notification: it may be in anybody's hands.
SEATS_BY_TOKEN = 16
#: While a row is being sent `due_at` is the end of a lease, which nobody is told.
_TOLD_WHEN = (DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED)
#: All that can change of what a caller sees. An attempt joins the history only as its delivery lets go of its token.
_STATE = (
    select(
        Notification.id,
        Notification.send_at,
        Notification.subject,
        Delivery.recipient,
        Delivery.status,
        Delivery.attempts,
        Delivery.due_at,
        Delivery.token,
        Delivery.possible_duplicate,
        Delivery.finished_at,
    )
    .join(Delivery, Delivery.notification_id == Notification.id)
    .where(Notification.id.in_(bindparam("ids", expanding=True)))
    .order_by(Delivery.id)
)


@dataclass(frozen=True, slots=True)
class Mark:
    """How a notification stood at one moment, for comparison; without `rows` it is not there."""

    rows: tuple[object, ...] = ()
    is_finished: bool = True


@dataclass(eq=False, slots=True)
class _Waiter:
    notification_id: UUID
    mark: Mark
    told: threading.Event = field(default_factory=threading.Event)


class Watch:
    """The waiters of one process and the thread that watches for them, which runs only while there are some."""

    def __init__(self, app: Flask, *, seats: int) -> None:
        self._app = app
        self._seats = seats
        self._lock = threading.Lock()
        self._taken: set[Seat] = set()
        self._waiters: set[_Waiter] = set()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._draining = False
        self._resting = False

    @property
    def is_draining(self) -> bool:
        """Tell whether the process ends, and nobody is to wait any more."""
        return self._draining or not threading.main_thread().is_alive()

    def taken(self) -> int:
        """Return how many seats are taken."""
        return len(self._taken)

    def waiting(self) -> int:
        """Return how many wait just now."""
        return len(self._waiters)

    def seat(self, notification_id: UUID, *, key: ApiKey) -> "Seat":
        """Take a seat. Raises Unavailable when all that this caller could have are taken, or the process ends."""
        token = notification_id if tokens.is_token(key) else None
        with self._lock:
            is_full = len(self._taken) >= self._seats
            if token is not None:
                is_full = is_full or sum(one.token == token for one in self._taken) >= SEATS_BY_TOKEN
            if is_full or self.is_draining:
                raise Unavailable("So many wait for changes already that nobody else can. Ask now and then instead.")
            seat = Seat(self, token)
            self._taken.add(seat)
        return seat

    def nudge(self) -> None:
        """Say that something was written."""
        if self._waiters:
            self._wake.set()

    def drain(self) -> None:
        """Tell everybody who waits that it is over, and let nobody wait any more: the process ends."""
        self._draining = True
        self._tell_all()

    def rest(self) -> None:
        """Have everybody who waits look for themselves, and see the thread off: what it reads by is about to be closed.

        A forked child may well go on with the same app, so whoever comes to wait is welcome again.
        """
        thread = self._thread
        if thread is None:
            return
        self._resting = True
        self._wake.set()
        thread.join(END_SECONDS)
        self._resting = False

    def leave(self, seat: "Seat") -> None:
        """Free a seat; doing it twice is harmless."""
        with self._lock:
            self._taken.discard(seat)

    def wait(self, notification_id: UUID, mark: Mark, seconds: float) -> bool:
        """Wait until the mark is no longer right or the process ends; False if that took more than so many seconds."""
        waiter = _Waiter(notification_id, mark)
        with self._lock:
            self._waiters.add(waiter)
            if self._thread is None or not self._thread.is_alive():  # it does not survive a fork
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()
        self._wake.set()
        try:
            return self.is_draining or waiter.told.wait(max(0.0, seconds))
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _run(self) -> None:
        trouble = False
        while True:
            self._wake.clear()
            with self._lock:
                waiters = list(self._waiters)
                if not waiters or self.is_draining or self._resting:
                    self._thread = None
                    break
            try:
                with self._app.app_context():
                    marks = read(db.session(), {waiter.notification_id for waiter in waiters})
            except Exception:  # without it everybody would wait in vain
                if not trouble:
                    log.exception("the table cannot be watched just now")
                trouble = True
                time.sleep(RETRY_SECONDS)
                continue
            trouble = False
            for waiter in waiters:
                if marks[waiter.notification_id] != waiter.mark:
                    waiter.told.set()
            time.sleep(SHORTEST_SECONDS)
            self._wake.wait(POLL_SECONDS - SHORTEST_SECONDS)
        self._tell_all()

    def _tell_all(self) -> None:
        with self._lock:
            for waiter in self._waiters:
                waiter.told.set()


class Seat:
    """The right of one caller to wait; `token` is the notification whose status token it came by, if it did."""

    def __init__(self, watch: Watch, token: UUID | None) -> None:
        self._watch = watch
        self.token = token

    @property
    def is_over(self) -> bool:
        """Tell whether waiting has no sense any more, because the process ends."""
        return self._watch.is_draining

    def wait(self, notification_id: UUID, mark: Mark, seconds: float) -> bool:
        """Wait until the mark is no longer right or the process ends; False if that took more than so many seconds."""
        return self._watch.wait(notification_id, mark, seconds)

    def leave(self) -> None:
        """Free the seat; doing it twice is harmless."""
        self._watch.leave(self)


def configure(app: Flask, *, seats: int) -> None:
    """Let so many callers wait at once in each process."""
    watch = Watch(app, seats=seats)
    app.extensions["postroom.watch"] = watch
    app.extensions["postroom.written"] = watch.nudge
    app.extensions["postroom.drain"] = watch.drain
    app.extensions["postroom.rest"] = watch.rest


def current() -> Watch:
    """Return the watch of the current app."""
    watch: Watch = current_app.extensions["postroom.watch"]
    return watch


def mark(notification_id: UUID) -> Mark:
    """Return how a notification stands. Whoever takes the mark first and reads afterwards misses no change."""
    return read(db.session(), {notification_id})[notification_id]


def pause() -> None:
    """Give back the connection that was read by: the caller does nothing but wait now."""
    db.session.close()


def read(session: Session, ids: Collection[UUID]) -> Mapping[UUID, Mark]:
    """Return how these notifications stand, by one query."""
    found: dict[UUID, list[Any]] = {id_: [] for id_ in ids}
    for row in session.connection().execute(_STATE, {"ids": list(ids)}):
        found[row.id].append(row)
    return {id_: _mark(rows) for id_, rows in found.items()}


def _mark(rows: Collection[Any]) -> Mark:
    # `scheduled` ends by the clock alone.
    now = clock.utcnow()
    seen = tuple(
        (
            row.send_at,
            row.send_at is not None and row.send_at > now,
            row.subject,
            row.recipient,
            row.status,
            row.attempts,
            row.due_at if row.status in _TOLD_WHEN else None,
            row.token,
            row.possible_duplicate,
            row.finished_at,
        )
        for row in rows
    )
    return Mark(seen, is_finished=all(row.finished_at is not None for row in rows))
