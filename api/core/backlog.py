"""The backlog: how much waits to be sent, and the mark above which nothing more is accepted.

Counted seldom, because counting a million rows takes a while; between two counts, what this process accepts is added.
"""

import threading
import time

from flask import Flask
from sqlalchemy import func, literal, select

from api.core import extension
from api.core.db import reading
from api.core.errors import QueueFull
from api.core.models import Delivery

#: Seconds between two counts at least, and how many times as long as a count took.
FRESH = 1.0
_SHARE = 100
#: Deliveries that all processes together might accept in a second: the mark is not reached sooner than by these.
_FASTEST = 20_000
#: Seconds after which a client that was turned away should ask again.
RETRY_SECONDS = 10


class Backlog:
    """The number of open deliveries as this process knows it."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open = 0
        self._next = 0.0

    def check(self) -> None:
        """Raise QueueFull if the mark is reached."""
        if self._most is None:
            return
        if time.monotonic() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._count(self._most)
            finally:
                self._lock.release()
        if self._open >= self._most:
            detail = f"{self._most} deliveries or more wait to be sent: nothing more is accepted for now."
            raise QueueFull(detail, retry_after=RETRY_SECONDS)

    def add(self, number: int) -> None:
        """Note what was accepted since the last count."""
        self._open += number

    def _count(self, most: int) -> None:
        began = time.monotonic()
        # Not the ids: an index alone answers, three times as fast.
        waiting = select(literal(1)).where(Delivery.finished_at.is_(None)).limit(most).subquery()
        with reading() as session:
            self._open = session.scalar(select(func.count()).select_from(waiting)) or 0
        ended = time.monotonic()
        self._next = ended + max(FRESH, _SHARE * (ended - began), (most - self._open) / _FASTEST)


def configure(app: Flask, most: int | None) -> None:
    """Set the mark; None is no mark."""
    app.extensions["postroom.backlog"] = Backlog(most)


def current() -> Backlog:
    """Return the running app's backlog."""
    backlog: Backlog = extension.of("postroom.backlog")
    return backlog
