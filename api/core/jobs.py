"""The periodic jobs: each with its period, and the lease by which one process at a time does it.

This table is the only definition. A dispatcher sees to what is due by itself; where Celery drives, beat says when.
Either way `run` decides: of all that come to do a job, one does it, and the others find it done.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from flask import current_app
from sqlalchemy import String, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from api.core import clock, erasure, figures, ledger, outbox, policy, receipts, transports
from api.core.db import Base, Instant, db, transact
from api.core.retention import Retention

log = logging.getLogger(__name__)

#: Nobody else begins a job that was begun, unless its end is overdue for so long: who did it is dead then.
LEASE = timedelta(minutes=2)
#: What lies further off than this was written by a clock that was ahead. More than a lease, for of two that come at
#: once the later one's ends a little after what the earlier one would take for the longest.
FAR = 2 * LEASE
#: Of its period, the share after which a job may be done again: who comes a little early need not come once more.
EARLY = 0.9
#: All transports.
NAMES = (transports.RELAY, transports.CAPTURE)


class Lease(Base):
    """When a job may be begun again."""

    __tablename__ = "jobs"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(Instant)


@dataclass(frozen=True, slots=True)
class Job:
    """A job by name; it is to be done once in each period. The work is done inside of an app context."""

    name: str
    period: timedelta
    work: Callable[[], object]


def _expire() -> None:
    transact(outbox.expire, durable=False)


def _erase() -> None:
    transact(erasure.purge, durable=False)


def _unstick() -> None:
    rules = policy.current()
    transact(partial(outbox.unstick, names=NAMES, schedule=rules.schedule, lease=rules.lease), durable=False)


def _forget_receipts() -> None:
    kept = policy.current().receipts_kept
    # In turns of bounded length, so that no accept waits long behind one.
    while transact(partial(receipts.purge, kept=kept), durable=False) == receipts.PURGE_LIMIT:
        pass


def _forget_quotas() -> None:
    while transact(ledger.purge, durable=False) == ledger.PURGE_LIMIT:
        pass


def _retain() -> None:
    # It goes on where it was the last time, in this process.
    retention: Retention = current_app.extensions.setdefault("postroom.retention", Retention())
    retention.enforce()


JOBS = (
    Job("expire", timedelta(seconds=5), _expire),
    Job("erase", timedelta(seconds=5), _erase),
    Job("count", timedelta(seconds=15), figures.count),
    Job("unstick", timedelta(minutes=1), _unstick),
    Job("receipts", timedelta(minutes=1), _forget_receipts),
    Job("quotas", timedelta(minutes=1), _forget_quotas),
    Job("retention", timedelta(minutes=1), _retain),
)


def due() -> Iterator[Job]:
    """Yield the jobs that may be begun now, by a read alone."""
    now = clock.utcnow()
    waiting = set(db.session.scalars(select(Lease.name).where(Lease.due_at > now, Lease.due_at <= now + FAR)))
    return (job for job in JOBS if job.name not in waiting)


def run(job: Job) -> bool:
    """Do a job, unless somebody else does it or has done it lately; tell whether it was done. Raises Unavailable."""
    begun = clock.utcnow()
    if not transact(partial(_begin, job=job, now=begun), durable=False):
        return False
    # Should the work fail, its turn comes again after the period all the same.
    try:
        job.work()
    finally:
        transact(partial(_end, job=job, due_at=begun + job.period * EARLY), durable=False)
    return True


def named(name: str) -> Job:
    """Return the job of a name. Raises KeyError."""
    return {job.name: job for job in JOBS}[name]


def _begin(session: Session, *, job: Job, now: datetime) -> bool:
    """Take the lease, if it is to be had; one statement decides."""
    free = or_(Lease.due_at <= now, Lease.due_at > now + FAR)
    taken = update(Lease).where(Lease.name == job.name, free).values(due_at=now + LEASE).returning(Lease.name)
    if session.execute(taken.execution_options(synchronize_session=False)).first() is not None:
        return True
    if session.scalar(select(Lease.name).where(Lease.name == job.name)) is not None:
        return False
    try:
        session.execute(insert(Lease).values(name=job.name, due_at=now + LEASE))
    except IntegrityError:  # somebody else was first, ever
        session.rollback()
        return False
    return True


def _end(session: Session, *, job: Job, due_at: datetime) -> None:
    session.execute(update(Lease).where(Lease.name == job.name).values(due_at=due_at))
