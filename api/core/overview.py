"""What is going on: who dispatches, what waits, how fast it goes out, and how the relays are."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.core import clock, dispatchers, figures, transports
from api.core.db import db
from api.core.models import Attempt, Delivery, Dispatcher, Notification, Transport

#: Minutes over which rates are taken.
MINUTES = (1, 5)


@dataclass(frozen=True, slots=True)
class Rate:
    """How many there were in the last so many minutes: messages accepted, and attempts by their outcome."""

    minutes: int
    accepted: int
    attempts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at one moment; `queue` is the open deliveries by status."""

    at: datetime
    dispatchers: list[Dispatcher]
    #: How many of them have given a sign of life lately.
    alive: int
    queue: dict[str, int]
    #: Seconds that the oldest due delivery waits for, None where nothing is due.
    oldest_due: float | None
    rates: list[Rate]
    transports: list[Transport]


def look() -> Overview:
    """Look at everything, by reads alone; the count of the queue takes about a second for a million."""
    session = db.session()
    now = clock.utcnow()
    every = registered(session)
    return Overview(
        at=now,
        dispatchers=every,
        alive=sum(dispatchers.is_alive(one, now) for one in every),
        queue=figures.depth(session),
        oldest_due=oldest_due(session),
        rates=[_rate(session, now, minutes) for minutes in MINUTES],
        transports=transports.every(session),
    )


def registered(session: Session) -> list[Dispatcher]:
    """Return all dispatchers that have not signed off, the oldest first."""
    query = select(Dispatcher).order_by(Dispatcher.id).execution_options(populate_existing=True)
    return list(session.scalars(query))


def oldest_due(session: Session) -> float | None:
    """Return for how many seconds the delivery that waits the longest has been due; None if none is.

    What is being sent is not due, and by the index on what is due this costs nothing.
    """
    oldest = [
        session.scalar(
            select(func.min(Delivery.due_at)).where(Delivery.finished_at.is_(None), Delivery.transport == name)
        )
        for name in (transports.RELAY, transports.CAPTURE)
    ]
    waits = [(clock.utcnow() - due).total_seconds() for due in oldest if due is not None]
    longest = max(waits, default=-1.0)
    return longest if longest >= 0 else None


def _rate(session: Session, now: datetime, minutes: int) -> Rate:
    since = now - timedelta(minutes=minutes)
    new = select(func.count()).select_from(Notification).where(Notification.id >= figures.first_id(since))
    first = _first_attempt(session, since)
    done = select(Attempt.outcome, func.count()).where(Attempt.id >= first).group_by(Attempt.outcome)
    attempts = {outcome.value: number for outcome, number in session.execute(done)}
    return Rate(minutes, session.scalar(new) or 0, attempts)


def _first_attempt(session: Session, since: datetime) -> int:
    """Return the id of the first attempt since a time, by halving: ids rise with time."""
    low, high = 0, (session.scalar(select(func.max(Attempt.id))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        query = select(Attempt.id, Attempt.at).where(Attempt.id >= middle).order_by(Attempt.id).limit(1)
        found = session.execute(query).first()
        if found is None or found.at >= since:
            high = middle
        else:
            low = found.id + 1
    return low
