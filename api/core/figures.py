"""Figures that are kept, so that nobody who looks has to count: counters, and how deep the queue was a moment ago.

What has been done since the last count is found by keys that rise with time, the attempts' ids and the notifications'
own, so that a count costs what is new and nothing of the rest. What is newer than the count before waits for the next
one: its transaction may not be through, and nothing is to be missed.
"""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, String, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.core import clock
from api.core.db import Base, Instant, db, transact
from api.core.models import Attempt, Delivery, Notification

#: The queue is counted again after so many times what the last count took: it never takes more than 2 % of a core.
SPARING = 50
#: Names begin with what they tell of.
QUEUE, ATTEMPTS, ACCEPTED, REQUESTS = "queue.", "attempts.", "accepted", "requests."
_CURSOR, _TOOK = "cursor.attempts", "took.queue"
_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Figure(Base):
    """A number, and when it was found."""

    __tablename__ = "figures"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(Instant)


def read() -> dict[str, Figure]:
    """Return all figures by name; there are a few for each route and status."""
    rows = db.session.scalars(select(Figure).execution_options(populate_existing=True))
    return {row.name: row for row in rows}


def of(found: Mapping[str, Figure], kind: str) -> dict[str, int]:
    """Return the figures of a kind, by the rest of their names."""
    return {name.removeprefix(kind): row.value for name, row in sorted(found.items()) if name.startswith(kind)}


def add(session: Session, counts: Mapping[str, int]) -> None:
    """Add to counters."""
    for name, count in sorted(counts.items()):  # in one order for everybody: no two can wait for each other
        _write(session, name, count, Figure.__table__.c.value + count)


def put(session: Session, values: Mapping[str, int]) -> None:
    """Set figures."""
    for name, value in sorted(values.items()):
        _write(session, name, value, value)


def count() -> None:
    """Count what was done since the last time, and how deep the queue is if that was not done just now."""
    found = read()
    transact(partial(_count_done, found=found), durable=False)
    took, now = found.get(_TOOK), clock.utcnow()
    if took is None or not timedelta() <= now - took.at < timedelta(milliseconds=took.value * SPARING):
        transact(partial(_store_depth, counted=_depth()), durable=False)


def depth(session: Session) -> dict[str, int]:
    """Count the open deliveries by status; takes about a second for a million."""
    query = select(Delivery.status, func.count()).where(Delivery.finished_at.is_(None)).group_by(Delivery.status)
    return {status.value: number for status, number in session.execute(query)}


def _depth() -> tuple[dict[str, int], int]:
    began = time.monotonic()
    return depth(db.session()), int((time.monotonic() - began) * 1000)


def _store_depth(session: Session, *, counted: tuple[dict[str, int], int]) -> None:
    by_status, took = counted
    session.execute(delete(Figure).where(Figure.name.startswith(QUEUE)))
    put(session, {QUEUE + status: number for status, number in by_status.items()} | {_TOOK: took})


def _count_done(session: Session, *, found: Mapping[str, Figure]) -> None:
    last = session.scalar(select(func.max(Attempt.id))) or 0
    known = found.get(_CURSOR)
    # The cursor stands where the attempts ended when the count before was made; that one counted up to the one before.
    start, end = (found["counted.attempts"].value, known.value) if known is not None else (0, 0)
    new = select(Attempt.outcome, func.count()).where(Attempt.id > start, Attempt.id <= end).group_by(Attempt.outcome)
    counts = {ATTEMPTS + outcome.value: number for outcome, number in session.execute(new)} if end > start else {}
    now = clock.utcnow()
    since = found[_CURSOR].at if known is not None else now
    before = found["counted.attempts"].at if known is not None else now
    accepted = _accepted(session, before, since) if since > before else 0
    add(session, counts | {ACCEPTED: accepted})
    _write(session, "counted.attempts", end, end, at=since)
    put(session, {_CURSOR: last})


def _accepted(session: Session, start: datetime, end: datetime) -> int:
    between = (Notification.id >= first_id(start), Notification.id < first_id(end))
    return session.scalar(select(func.count()).select_from(Notification).where(*between)) or 0


def first_id(moment: datetime) -> UUID:
    """Return an id that all made before this time are below (RFC 9562 §5.7: milliseconds in the first 48 bits)."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def _write(session: Session, name: str, value: int, otherwise: Any, *, at: datetime | None = None) -> None:
    """Store a figure, or where there is one something else in its place."""
    found = at or clock.utcnow()
    new = _INSERT[session.get_bind().dialect.name](Figure).values(name=name, value=value, at=found)
    session.execute(new.on_conflict_do_update(index_elements=["name"], set_={"value": otherwise, "at": found}))
